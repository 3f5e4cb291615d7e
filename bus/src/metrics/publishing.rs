//! Metrics of publishing to one stream, by event type and outcome.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use eventbus_core::names::StreamKey;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::{GroupLabels, Metrics, PublishLabels, StreamLabels};

/// Maximum number of types with counters of their own. Further types share those of [`OTHER`], because users choose the
/// types.
const MAX_TYPES: usize = 100;
const OTHER: &str = "other";

/// Metrics of one stream. Clones share the counters.
#[derive(Clone)]
pub(crate) struct StreamMetrics {
    stream: String,
    /// Counters of successful publishes by type: the usual case needs no new labels.
    ok: Arc<RwLock<HashMap<String, Published>>>,
    trimmed: Counter,
    all: Metrics,
}

#[derive(Clone)]
struct Published {
    label: String,
    total: Counter,
    duration: Histogram,
}

impl StreamMetrics {
    pub(super) fn new(all: &Metrics, stream: &StreamKey) -> Self {
        let stream = stream.to_string();
        let trimmed = all.trimmed.get_or_create_owned(&StreamLabels { stream: stream.clone() });
        Self { stream, ok: Arc::default(), trimmed, all: all.clone() }
    }

    /// Counts a successful publish.
    pub(crate) fn published(&self, event_type: &str, took: Duration) {
        let count = |published: &Published| {
            published.total.inc();
            published.duration.observe(took.as_secs_f64());
        };
        let is_known = {
            let types = self.ok.read().unwrap_or_else(PoisonError::into_inner);
            types.get(event_type).map(count).is_some()
        };
        if !is_known {
            count(&self.counters(event_type));
        }
    }

    /// Counts a failed publish, by the kind of error.
    pub(crate) fn failed(&self, event_type: &str, outcome: &'static str, took: Duration) {
        let labels = self.labels(&self.counters(event_type).label, outcome);
        self.all.published.get_or_create(&labels).inc();
        self.all.publishing.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts trimmed entries.
    pub(crate) fn trimmed(&self, entries: u64) {
        self.trimmed.inc_by(entries);
    }

    /// Counts entries that `group` lost at the hard cap.
    pub(crate) fn dropped(&self, group: String, entries: u64) {
        let labels = GroupLabels { stream: self.stream.clone(), group };
        self.all.dropped.get_or_create(&labels).inc_by(entries);
    }

    /// Counts a missing group that holds trimming back no longer.
    pub(crate) fn released(&self, group: String) {
        let labels = GroupLabels { stream: self.stream.clone(), group };
        self.all.released.get_or_create(&labels).inc();
    }

    /// Returns the counters of a type, and creates them if there are fewer than [`MAX_TYPES`].
    fn counters(&self, event_type: &str) -> Published {
        let mut types = self.ok.write().unwrap_or_else(PoisonError::into_inner);
        let label = match types.get(event_type) {
            Some(known) => return known.clone(),
            None if types.len() < MAX_TYPES => event_type,
            None => OTHER,
        };
        let labels = self.labels(label, "ok");
        let published = Published {
            label: label.to_owned(),
            total: self.all.published.get_or_create_owned(&labels),
            duration: self.all.publishing.get_or_create_owned(&labels),
        };
        if label == event_type {
            types.insert(label.to_owned(), published.clone());
        }
        published
    }

    fn labels(&self, label: &str, outcome: &'static str) -> PublishLabels {
        PublishLabels { stream: self.stream.clone(), r#type: label.to_owned(), outcome }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn lines(count: impl FnOnce(&StreamMetrics)) -> Vec<String> {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        count(&metrics.of_stream(&StreamKey::new("s").unwrap()));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("eventbus_published_total"));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn events_are_counted_by_type_and_outcome() {
        let mut lines = lines(|metrics| {
            metrics.published("a", Duration::ZERO);
            metrics.published("a", Duration::ZERO);
            metrics.failed("a", "timed_out", Duration::ZERO);
        });
        lines.sort();
        let expected = [
            r#"eventbus_published_total{stream="s",type="a",outcome="ok"} 2"#,
            r#"eventbus_published_total{stream="s",type="a",outcome="timed_out"} 1"#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn types_beyond_a_hundred_share_one_label() {
        let lines = lines(|metrics| {
            for n in 0..150 {
                metrics.published(&format!("t{n}"), Duration::ZERO);
            }
            metrics.failed("t149", "timed_out", Duration::ZERO);
        });
        assert_eq!(lines.len(), 102);
        let other = r#"eventbus_published_total{stream="s",type="other",outcome="ok"} 50"#;
        assert!(lines.iter().any(|line| line == other), "{lines:?}");
    }
}
