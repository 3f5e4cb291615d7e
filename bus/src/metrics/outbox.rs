//! Metrics of the outbox of one stream.

use std::time::Duration;

use eventbus_core::names::StreamKey;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::StreamLabels;

/// Metrics of all outboxes of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct OutboxFamilies {
    waiting: Family<StreamLabels, Gauge>,
    waiting_bytes: Family<StreamLabels, Gauge>,
    oldest: Family<StreamLabels, Gauge>,
    stored: Family<StreamLabels, Counter>,
    synced: Family<StreamLabels, Counter>,
    sent: Family<StreamLabels, Counter>,
    damaged: Family<StreamLabels, Counter>,
    set_aside: Family<StreamLabels, Counter>,
}

impl OutboxFamilies {
    pub fn register(&self, eventbus: &mut Registry) {
        let outbox = eventbus.sub_registry_with_prefix("outbox");
        let text = "Unsent events in the outbox";
        outbox.register("waiting_events", text, self.waiting.clone());
        let text = "Bytes of unsent events in the outbox";
        outbox.register_with_unit("waiting", text, Unit::Bytes, self.waiting_bytes.clone());
        let text = "Age of the oldest unsent event in the outbox; 0 without one";
        outbox.register_with_unit("oldest_age", text, Unit::Seconds, self.oldest.clone());
        let text = "Events written to the outbox";
        outbox.register("events", text, self.stored.clone());
        let text = "Syncs of the disk by the outbox: one for all events of a write";
        outbox.register("syncs", text, self.synced.clone());
        let text = "Events sent from the outbox";
        outbox.register("sent", text, self.sent.clone());
        let text = "Unreadable places in the outbox, each of which may have been an event";
        outbox.register("damaged", text, self.damaged.clone());
        let text = "Events set aside, because Redis refused each of them alone while it answered other commands";
        outbox.register("set_aside", text, self.set_aside.clone());
    }

    pub fn of_stream(&self, stream: &StreamKey) -> OutboxMetrics {
        let labels = StreamLabels { stream: stream.to_string() };
        OutboxMetrics {
            waiting: self.waiting.get_or_create_owned(&labels),
            waiting_bytes: self.waiting_bytes.get_or_create_owned(&labels),
            oldest: self.oldest.get_or_create_owned(&labels),
            stored: self.stored.get_or_create_owned(&labels),
            synced: self.synced.get_or_create_owned(&labels),
            sent: self.sent.get_or_create_owned(&labels),
            damaged: self.damaged.get_or_create_owned(&labels),
            set_aside: self.set_aside.get_or_create_owned(&labels),
        }
    }
}

/// Metrics of one outbox, looked up once.
#[derive(Clone, Debug)]
pub(crate) struct OutboxMetrics {
    waiting: Gauge,
    waiting_bytes: Gauge,
    oldest: Gauge,
    stored: Counter,
    synced: Counter,
    sent: Counter,
    damaged: Counter,
    set_aside: Counter,
}

impl OutboxMetrics {
    /// Sets the number of unsent events and their bytes.
    pub fn waiting(&self, events: u64, bytes: u64) {
        self.waiting.set(i64::try_from(events).unwrap_or(i64::MAX));
        self.waiting_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Sets the age of the oldest unsent event.
    pub fn oldest(&self, age: Duration) {
        self.oldest.set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }

    /// Counts events written to disk.
    pub fn stored(&self, events: u64) {
        self.stored.inc_by(events);
    }

    /// Counts a sync of the disk.
    pub fn synced(&self) {
        self.synced.inc();
    }

    /// Counts events sent to Redis.
    pub fn sent(&self, events: u64) {
        self.sent.inc_by(events);
    }

    /// Counts unreadable places.
    pub fn damaged(&self, places: u64) {
        self.damaged.inc_by(places);
    }

    /// Counts an event that was set aside.
    pub fn set_aside(&self) {
        self.set_aside.inc();
    }

    /// Returns the number of syncs.
    #[cfg(test)]
    pub fn syncs(&self) -> u64 {
        self.synced.get()
    }
}
