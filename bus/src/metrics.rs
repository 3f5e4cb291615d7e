//! Metrics of this library: counters, gauges and histograms.

mod outbox;
mod publishing;

use std::time::Duration;

use eventbus_core::delivery::Counts;
use eventbus_core::names::{GroupName, StreamKey};
use eventbus_core::retry::breaker::BreakerState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use outbox::OutboxMetrics;
pub(crate) use publishing::StreamMetrics;

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
struct ConnectionLabels {
    connection: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublishLabels {
    stream: String,
    r#type: String,
    outcome: &'static str,
}

/// Metrics of one process. Clones share the values.
#[derive(Clone, Debug)]
pub struct Metrics {
    consumed: Family<OutcomeLabels, Counter>,
    handling: Family<GroupLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<GroupLabels, Gauge>,
    unconfirmed: Family<GroupLabels, Counter>,
    dropped_dead_letters: Family<GroupLabels, Counter>,
    unfetchable: Family<GroupLabels, Gauge>,
    published: Family<PublishLabels, Counter>,
    publishing: Family<PublishLabels, Histogram, fn() -> Histogram>,
    trimmed: Family<StreamLabels, Counter>,
    dropped: Family<GroupLabels, Counter>,
    released: Family<GroupLabels, Counter>,
    outbox: outbox::OutboxFamilies,
    connected: Family<ConnectionLabels, Gauge>,
    reconnects: Family<ConnectionLabels, Counter>,
    breaker: Family<ConnectionLabels, Gauge>,
}

fn histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0])
}

impl Metrics {
    /// Creates the metrics and registers them with the prefix `eventbus_`.
    ///
    /// ```
    /// let mut registry = prometheus_client::registry::Registry::default();
    /// let metrics = eventbus::Metrics::register(&mut registry);
    /// ```
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            consumed: Family::default(),
            handling: Family::new_with_constructor(histogram),
            in_flight: Family::default(),
            unconfirmed: Family::default(),
            dropped_dead_letters: Family::default(),
            unfetchable: Family::default(),
            published: Family::default(),
            publishing: Family::new_with_constructor(histogram),
            trimmed: Family::default(),
            dropped: Family::default(),
            released: Family::default(),
            outbox: outbox::OutboxFamilies::default(),
            connected: Family::default(),
            reconnects: Family::default(),
            breaker: Family::default(),
        };
        let eventbus = registry.sub_registry_with_prefix("eventbus");
        metrics.register_consuming(eventbus);
        metrics.register_publishing(eventbus);
        metrics.outbox.register(eventbus);
        eventbus.register(
            "redis_up",
            "1 while connected to Redis, else 0, by purpose of the connection",
            metrics.connected.clone(),
        );
        eventbus.register(
            "redis_reconnects",
            "Reconnects to Redis, by purpose of the connection",
            metrics.reconnects.clone(),
        );
        eventbus.register(
            "redis_breaker_state",
            "State of the circuit breaker: 0 closed (operations pass), 1 half-open (one probe), 2 open (operations are refused)",
            metrics.breaker.clone(),
        );
        metrics
    }

    fn register_consuming(&self, eventbus: &mut Registry) {
        eventbus.register(
            "consumed",
            "Entries settled, by outcome: ack, retry, dead, skipped, lost",
            self.consumed.clone(),
        );
        eventbus.register_with_unit(
            "handler_duration",
            "Duration of handler calls, failed ones included",
            Unit::Seconds,
            self.handling.clone(),
        );
        eventbus.register(
            "in_flight",
            "Entries in flight: read by this consumer and not settled yet",
            self.in_flight.clone(),
        );
        eventbus.register(
            "unconfirmed_acknowledgements",
            "Acknowledgements of entries that were no longer pending",
            self.unconfirmed.clone(),
        );
        eventbus.register(
            "dropped_dead_letters",
            "Dead letters that this consumer dropped at their maximum length, the oldest",
            self.dropped_dead_letters.clone(),
        );
        eventbus.register(
            "unfetchable_entries",
            "Entries that this consumer cannot fetch, although nothing else was asked for with them; they stay pending",
            self.unfetchable.clone(),
        );
    }

    fn register_publishing(&self, eventbus: &mut Registry) {
        eventbus.register(
            "published",
            "Publishes, by event type and outcome: ok, spooled, or the kind of error",
            self.published.clone(),
        );
        eventbus.register_with_unit(
            "publish_duration",
            "Duration of publishes until Redis answered or the publish failed",
            Unit::Seconds,
            self.publishing.clone(),
        );
        eventbus.register(
            "trimmed_entries",
            "Entries that this process trimmed after every group had acknowledged them",
            self.trimmed.clone(),
        );
        eventbus.register(
            "dropped_entries",
            "Entries that this process dropped at the hard cap before the group acknowledged them",
            self.dropped.clone(),
        );
        eventbus.register(
            "missing_groups_released",
            "Declared groups that had been missing for too long to hold back this process's trimming",
            self.released.clone(),
        );
    }

    /// Returns the metrics of one group, looked up once, because a look-up costs more than counting.
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
            unconfirmed: self.unconfirmed.get_or_create_owned(&labels),
            dropped_dead_letters: self.dropped_dead_letters.get_or_create_owned(&labels),
            unfetchable: self.unfetchable.get_or_create_owned(&labels),
        }
    }

    /// Returns the metrics of publishing to one stream.
    pub(crate) fn of_stream(&self, stream: &StreamKey) -> StreamMetrics {
        StreamMetrics::new(self, stream)
    }

    /// Returns the metrics of the outbox of one stream.
    pub(crate) fn of_outbox(&self, stream: &StreamKey) -> OutboxMetrics {
        self.outbox.of_stream(stream)
    }

    /// Returns the metrics of the connection with this purpose, such as `publish`.
    pub(crate) fn of_connection(&self, connection: &'static str) -> ConnectionMetrics {
        let labels = ConnectionLabels { connection };
        ConnectionMetrics {
            connected: self.connected.get_or_create_owned(&labels),
            reconnects: self.reconnects.get_or_create_owned(&labels),
            breaker: self.breaker.get_or_create_owned(&labels),
        }
    }
}

/// Metrics of one connection.
#[derive(Clone)]
pub(crate) struct ConnectionMetrics {
    connected: Gauge,
    reconnects: Counter,
    breaker: Gauge,
}

impl ConnectionMetrics {
    /// Counts connection number `number` (from 1) as established.
    pub(crate) fn connected(&self, number: u64) {
        self.connected.set(1);
        self.reconnects.inc_by(u64::from(number > 1));
    }

    /// Counts the connection as closed.
    pub(crate) fn disconnected(&self) {
        self.connected.set(0);
    }

    pub(crate) fn breaker(&self, state: BreakerState) {
        self.breaker.set(match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        });
    }
}

const OUTCOMES: [&str; 5] = ["ack", "retry", "dead", "skipped", "lost"];

/// Metrics of one consumer.
pub(crate) struct GroupMetrics {
    consumed: [Counter; 5],
    handling: Histogram,
    in_flight: Gauge,
    unconfirmed: Counter,
    dropped_dead_letters: Counter,
    unfetchable: Gauge,
}

impl GroupMetrics {
    /// Adds the difference between `counts` and `before`.
    pub(crate) fn advance(&self, before: &Counts, counts: &Counts) {
        let added = [
            counts.acknowledged - before.acknowledged,
            counts.retried - before.retried,
            counts.dead - before.dead,
            counts.skipped - before.skipped,
            counts.lost - before.lost,
        ];
        for (counter, number) in self.consumed.iter().zip(added) {
            counter.inc_by(number);
        }
        self.unconfirmed.inc_by(counts.unconfirmed - before.unconfirmed);
        self.in_flight.set(i64::try_from(counts.in_flight).unwrap_or(i64::MAX));
        self.unfetchable.set(i64::try_from(counts.unfetchable).unwrap_or(i64::MAX));
    }

    /// Returns the counter of dead letters that were dropped at their maximum length.
    pub(crate) fn dropped_dead_letters(&self) -> Counter {
        self.dropped_dead_letters.clone()
    }

    pub(crate) fn handled(&self, took: Duration) {
        self.handling.observe(took.as_secs_f64());
    }
}
