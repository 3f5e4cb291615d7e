//! Counters and histograms of this library, declared once.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::delivery::Counts;
use crate::names::{GroupName, StreamKey};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabels {
    stream: String,
    group: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    stream: String,
    group: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublishLabels {
    stream: String,
    outcome: &'static str,
}

/// The metrics of one process; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    consumed: Family<OutcomeLabels, Counter>,
    handling: Family<GroupLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<GroupLabels, Gauge>,
    published: Family<PublishLabels, Counter>,
    publishing: Family<PublishLabels, Histogram, fn() -> Histogram>,
    trimmed: Family<StreamLabels, Counter>,
    dropped: Family<GroupLabels, Counter>,
    connected: Gauge,
    reconnects: Counter,
}

fn histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0])
}

impl Metrics {
    /// Makes the metrics and registers them under `eventbus_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            consumed: Family::default(),
            handling: Family::new_with_constructor(histogram),
            in_flight: Family::default(),
            published: Family::default(),
            publishing: Family::new_with_constructor(histogram),
            trimmed: Family::default(),
            dropped: Family::default(),
            connected: Gauge::default(),
            reconnects: Counter::default(),
        };
        let eventbus = registry.sub_registry_with_prefix("eventbus");
        eventbus.register(
            "consumed",
            "Entries by what became of them: ack, retry, dead, skipped, lost",
            metrics.consumed.clone(),
        );
        eventbus.register_with_unit(
            "handler_duration",
            "How long handler calls took, failed ones included",
            Unit::Seconds,
            metrics.handling.clone(),
        );
        eventbus.register(
            "in_flight",
            "Entries in this consumer's hand: read, and not settled yet",
            metrics.in_flight.clone(),
        );
        eventbus.register(
            "published",
            "Events by whether Redis took them: ok, or the kind of error",
            metrics.published.clone(),
        );
        eventbus.register_with_unit(
            "publish_duration",
            "How long publishing took until Redis answered",
            Unit::Seconds,
            metrics.publishing.clone(),
        );
        eventbus.register(
            "trimmed_entries",
            "Entries that this process trimmed: every group had acknowledged them",
            metrics.trimmed.clone(),
        );
        eventbus.register(
            "dropped_entries",
            "Entries that this process dropped at the hard cap before the group had acknowledged them",
            metrics.dropped.clone(),
        );
        eventbus.register(
            "redis_up",
            "1 while connected to Redis, else 0",
            metrics.connected.clone(),
        );
        eventbus.register(
            "redis_reconnects",
            "Connections to Redis made after the first",
            metrics.reconnects.clone(),
        );
        metrics
    }

    /// The metrics of one group, looked up once: a look-up costs more than counting.
    pub(crate) fn of_group(&self, stream: &StreamKey, group: &GroupName) -> GroupMetrics {
        let labels = GroupLabels { stream: stream.to_string(), group: group.to_string() };
        let consumed = OUTCOMES.map(|outcome| {
            let (stream, group) = (labels.stream.clone(), labels.group.clone());
            self.consumed.get_or_create_owned(&OutcomeLabels { stream, group, outcome })
        });
        GroupMetrics {
            consumed,
            handling: self.handling.get_or_create_owned(&labels),
            in_flight: self.in_flight.get_or_create_owned(&labels),
        }
    }

    /// The metrics of publishing to one stream, looked up once for the outcome that is the rule.
    pub(crate) fn of_stream(&self, stream: &StreamKey) -> StreamMetrics {
        let labels = PublishLabels { stream: stream.to_string(), outcome: "ok" };
        StreamMetrics {
            ok: self.published.get_or_create_owned(&labels),
            ok_duration: self.publishing.get_or_create_owned(&labels),
            trimmed: self.trimmed.get_or_create_owned(&StreamLabels { stream: stream.to_string() }),
            labels,
            all: self.clone(),
        }
    }

    pub(crate) fn connected(&self, up: bool) {
        self.connected.set(i64::from(up));
    }

    pub(crate) fn reconnected(&self) {
        self.reconnects.inc();
    }
}

const OUTCOMES: [&str; 5] = ["ack", "retry", "dead", "skipped", "lost"];

/// What one consumer counts.
pub(crate) struct GroupMetrics {
    consumed: [Counter; 5],
    handling: Histogram,
    in_flight: Gauge,
}

impl GroupMetrics {
    /// Moves the metrics by what the counts moved since `before`.
    pub(crate) fn advance(&self, before: &Counts, counts: &Counts) {
        let moved = [
            counts.acknowledged - before.acknowledged,
            counts.retried - before.retried,
            counts.dead - before.dead,
            counts.skipped - before.skipped,
            counts.lost - before.lost,
        ];
        for (counter, number) in self.consumed.iter().zip(moved) {
            counter.inc_by(number);
        }
        self.in_flight.set(i64::try_from(counts.in_flight).unwrap_or(i64::MAX));
    }

    pub(crate) fn handled(&self, took: Duration) {
        self.handling.observe(took.as_secs_f64());
    }
}

/// What publishing to one stream counts.
#[derive(Clone)]
pub(crate) struct StreamMetrics {
    ok: Counter,
    ok_duration: Histogram,
    trimmed: Counter,
    labels: PublishLabels,
    all: Metrics,
}

impl StreamMetrics {
    /// Counts an event that Redis took.
    pub(crate) fn published(&self, took: Duration) {
        self.ok.inc();
        self.ok_duration.observe(took.as_secs_f64());
    }

    /// Counts an event that was not published, by the kind of error.
    pub(crate) fn failed(&self, label: &'static str, took: Duration) {
        let labels = PublishLabels { outcome: label, ..self.labels.clone() };
        self.all.published.get_or_create(&labels).inc();
        self.all.publishing.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts entries that were trimmed.
    pub(crate) fn trimmed(&self, entries: u64) {
        self.trimmed.inc_by(entries);
    }

    /// Counts entries that `group` lost at the hard cap.
    pub(crate) fn dropped(&self, group: String, entries: u64) {
        let labels = GroupLabels { stream: self.labels.stream.clone(), group };
        self.all.dropped.get_or_create(&labels).inc_by(entries);
    }
}
