//! Metrics of the operator and of the groups that it reconciles.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Labels of the group of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GroupLabels {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Key of the stream.
    pub stream: String,
    /// Name of the group.
    pub group: String,
}

/// Numbers of one group; `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupNumbers {
    /// Number of entries never delivered.
    pub lag: Option<u64>,
    /// Number of entries delivered and not acknowledged.
    pub pending: Option<u64>,
    /// Age of the oldest entry not acknowledged; zero if there is none.
    pub oldest_age: Option<Duration>,
    /// Number of dead letters.
    pub dead_letters: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    endpoint: String,
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabels {
    namespace: String,
    resource: String,
}

type Seconds = Gauge<f64, AtomicU64>;

/// Metrics of one operator; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    lag: Family<GroupLabels, Gauge>,
    pending: Family<GroupLabels, Gauge>,
    oldest: Family<GroupLabels, Seconds>,
    dead_letters: Family<GroupLabels, Gauge>,
    redis_up: Family<StreamLabels, Gauge>,
    reconciles: Family<ResultLabels, Counter>,
    reconcile_errors: Family<ReasonLabels, Counter>,
    reconcile_duration: Histogram,
    status_writes: Counter,
    leader: Gauge,
    watches: Family<WatchLabels, Seconds>,
}

impl Metrics {
    /// Registers the metrics, all of which begin with `eventbus_`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            lag: Family::default(),
            pending: Family::default(),
            oldest: Family::default(),
            dead_letters: Family::default(),
            redis_up: Family::default(),
            reconciles: Family::default(),
            reconcile_errors: Family::default(),
            reconcile_duration: Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 5.0, 15.0]),
            status_writes: Counter::default(),
            leader: Gauge::default(),
            watches: Family::default(),
        };
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("eventbus_operator", "Version of the operator", Info::new(version));
        metrics.register_groups(registry);
        registry.register(
            "eventbus_stream_redis_up",
            "State of Redis when the stream was last read: 1 if it responded, else 0",
            metrics.redis_up.clone(),
        );
        registry.register(
            "eventbus_reconcile",
            "Number of reconciles by result",
            metrics.reconciles.clone(),
        );
        registry.register(
            "eventbus_reconcile_errors",
            "Number of failed reconciles by cause",
            metrics.reconcile_errors.clone(),
        );
        registry.register_with_unit(
            "eventbus_reconcile_duration",
            "Duration of a reconcile",
            Unit::Seconds,
            metrics.reconcile_duration.clone(),
        );
        registry.register(
            "eventbus_status_writes",
            "Number of status writes",
            metrics.status_writes.clone(),
        );
        registry.register(
            "eventbus_leader",
            "State of this replica: 1 if it is the leader, else 0",
            metrics.leader.clone(),
        );
        registry.register_with_unit(
            "eventbus_watch_last_event_timestamp",
            "Time at which the API server last answered the watch of a resource, which is renewed every 20 s",
            Unit::Seconds,
            metrics.watches.clone(),
        );
        metrics
    }

    /// Registers the metrics of the groups.
    fn register_groups(&self, registry: &mut Registry) {
        registry.register(
            "eventbus_group_lag",
            "Number of entries never delivered to the group; absent while unknown",
            self.lag.clone(),
        );
        registry.register(
            "eventbus_group_pending",
            "Number of entries delivered and not acknowledged; absent while unknown",
            self.pending.clone(),
        );
        registry.register_with_unit(
            "eventbus_group_oldest_unprocessed",
            "Age of the oldest entry not acknowledged; absent while unknown",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register(
            "eventbus_group_dead_letters",
            "Number of dead letters of the group; absent while unknown",
            self.dead_letters.clone(),
        );
    }

    /// Counts a reconcile; `failure` is the label of its error, if it failed.
    pub fn reconciled(&self, took: Duration, failure: Option<&'static str>) {
        let result = if failure.is_some() { "error" } else { "ok" };
        self.reconciles.get_or_create(&ResultLabels { result }).inc();
        if let Some(reason) = failure {
            self.reconcile_errors.get_or_create(&ReasonLabels { reason }).inc();
        }
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// Counts a status write.
    pub fn status_written(&self) {
        self.status_writes.inc();
    }

    /// Sets whether this replica is the leader.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// Sets the time at which the API server last answered the watch of `resource`; `namespace` is empty for all.
    pub fn watch_seen(&self, namespace: &str, resource: &str, now: Timestamp) {
        let labels = WatchLabels { namespace: namespace.to_owned(), resource: resource.to_owned() };
        self.watches.get_or_create(&labels).set(now.as_duration().as_secs_f64());
    }

    /// Removes the times of all watches, which end when this replica stops leading.
    pub fn forget_watches(&self) {
        self.watches.clear();
    }

    /// Sets whether Redis responded for a stream; `None`: the stream is no longer observed.
    pub fn set_redis_up(&self, endpoint: &str, stream: &str, up: Option<bool>) {
        let labels = StreamLabels { endpoint: endpoint.to_owned(), stream: stream.to_owned() };
        match up {
            Some(up) => drop(self.redis_up.get_or_create(&labels).set(i64::from(up))),
            None => drop(self.redis_up.remove(&labels)),
        }
    }

    /// Sets the numbers of a group and removes the unknown ones.
    pub fn set_group(&self, labels: &GroupLabels, numbers: &GroupNumbers) {
        set(&self.lag, labels, numbers.lag);
        set(&self.pending, labels, numbers.pending);
        set(&self.dead_letters, labels, numbers.dead_letters);
        match numbers.oldest_age {
            Some(age) => drop(self.oldest.get_or_create(labels).set(age.as_secs_f64())),
            None => drop(self.oldest.remove(labels)),
        }
    }

    /// Removes the numbers of a group.
    pub fn forget_group(&self, labels: &GroupLabels) {
        self.set_group(labels, &GroupNumbers::default());
    }
}

fn set(family: &Family<GroupLabels, Gauge>, labels: &GroupLabels, value: Option<u64>) {
    match value {
        Some(value) => {
            family.get_or_create(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        None => {
            family.remove(labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    fn labels() -> GroupLabels {
        let [namespace, name, stream, group] = ["ns", "n", "s", "g"].map(ToOwned::to_owned);
        GroupLabels { namespace, name, stream, group }
    }

    #[test]
    fn an_unknown_lag_is_absent_and_not_zero() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.set_group(&labels(), &GroupNumbers { lag: Some(3), ..GroupNumbers::default() });
        let line = r#"eventbus_group_lag{namespace="ns",name="n",stream="s",group="g"} 3"#;
        assert!(text(&registry).contains(line), "{}", text(&registry));
        metrics.set_group(&labels(), &GroupNumbers::default());
        assert!(!text(&registry).contains("eventbus_group_lag{"), "{}", text(&registry));
    }

    #[test]
    fn case_10_the_time_of_a_watch_is_there_while_it_runs() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.watch_seen("ns", "deployments", Timestamp::from_millisecond(1_500).unwrap());
        let line = r#"eventbus_watch_last_event_timestamp_seconds{namespace="ns",resource="deployments"} 1.5"#;
        assert!(text(&registry).contains(line), "{}", text(&registry));
        metrics.forget_watches();
        assert!(!text(&registry).contains("timestamp_seconds{"), "{}", text(&registry));
    }

    #[test]
    fn reconciles_are_counted_by_result_and_cause() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.reconciled(Duration::from_millis(2), None);
        metrics.reconciled(Duration::from_millis(2), Some("kube"));
        let text = text(&registry);
        for line in [
            r#"eventbus_reconcile_total{result="ok"} 1"#,
            r#"eventbus_reconcile_total{result="error"} 1"#,
            r#"eventbus_reconcile_errors_total{reason="kube"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
