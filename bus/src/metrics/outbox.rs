//! What the outbox of one stream counts.

use std::time::Duration;

use eventbus_core::names::StreamKey;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::StreamLabels;

/// The outbox's part of the metrics of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct OutboxFamilies {
    waiting: Family<StreamLabels, Gauge>,
    waiting_bytes: Family<StreamLabels, Gauge>,
    oldest: Family<StreamLabels, Gauge>,
    kept: Family<StreamLabels, Counter>,
    synced: Family<StreamLabels, Counter>,
    sent: Family<StreamLabels, Counter>,
    damaged: Family<StreamLabels, Counter>,
}

impl OutboxFamilies {
    pub fn register(&self, eventbus: &mut Registry) {
        let outbox = eventbus.sub_registry_with_prefix("outbox");
        let text = "Events in the outbox that are not sent yet";
        outbox.register("waiting_events", text, self.waiting.clone());
        let text = "What the events in the outbox that are not sent yet take on disk";
        outbox.register_with_unit("waiting", text, Unit::Bytes, self.waiting_bytes.clone());
        let text = "How old the oldest event is that is not sent yet; 0 where there is none";
        outbox.register_with_unit("oldest_age", text, Unit::Seconds, self.oldest.clone());
        let text = "Events that were written to the outbox";
        outbox.register("events", text, self.kept.clone());
        let text = "How often the outbox had the disk sync: one for all events of one write";
        outbox.register("syncs", text, self.synced.clone());
        let text = "Events that were sent from the outbox";
        outbox.register("sent", text, self.sent.clone());
        let text = "Places in the outbox that could not be read: each may have been an event";
        outbox.register("damaged", text, self.damaged.clone());
    }

    pub fn of_stream(&self, stream: &StreamKey) -> OutboxMetrics {
        let labels = StreamLabels { stream: stream.to_string() };
        OutboxMetrics {
            waiting: self.waiting.get_or_create_owned(&labels),
            waiting_bytes: self.waiting_bytes.get_or_create_owned(&labels),
            oldest: self.oldest.get_or_create_owned(&labels),
            kept: self.kept.get_or_create_owned(&labels),
            synced: self.synced.get_or_create_owned(&labels),
            sent: self.sent.get_or_create_owned(&labels),
            damaged: self.damaged.get_or_create_owned(&labels),
        }
    }
}

/// The metrics of one outbox, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct OutboxMetrics {
    waiting: Gauge,
    waiting_bytes: Gauge,
    oldest: Gauge,
    kept: Counter,
    synced: Counter,
    sent: Counter,
    damaged: Counter,
}

impl OutboxMetrics {
    /// Tells what is not sent yet.
    pub fn waiting(&self, events: u64, bytes: u64) {
        self.waiting.set(i64::try_from(events).unwrap_or(i64::MAX));
        self.waiting_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Tells the age of the oldest event that is not sent.
    pub fn oldest(&self, age: Duration) {
        self.oldest.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// Counts events that are on disk.
    pub fn kept(&self, events: u64) {
        self.kept.inc_by(events);
    }

    /// Counts a sync.
    pub fn synced(&self) {
        self.synced.inc();
    }

    /// Counts events that Redis took.
    pub fn sent(&self, events: u64) {
        self.sent.inc_by(events);
    }

    /// Counts places that cannot be read.
    pub fn damaged(&self, places: u64) {
        self.damaged.inc_by(places);
    }

    /// Syncs so far.
    #[cfg(test)]
    pub fn syncs(&self) -> u64 {
        self.synced.get()
    }
}
