//! Dual publishing: the platform's file first, as ever, then the event bus, with the same event ID.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use eventbus::{Error, EventBus, NewEvent, Payload, chain};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::Value;
use uuid::Uuid;

use crate::file_publisher::{Event, FilePublisher};

/// Publishes a service's events; clones share it.
#[derive(Clone)]
pub struct DualPublisher {
    service: &'static str,
    file: FilePublisher,
    bus: EventBus,
    counted: Counted,
    /// Why the bus did not take the last event.
    failure: Arc<Mutex<Option<&'static str>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    error: &'static str,
}

#[derive(Clone, Default)]
struct Counted {
    lines: Counter,
    failures: Family<Failure, Counter>,
}

/// Events that stand in the file, and are yet to be sent.
#[must_use = "the bus is not told of them yet"]
pub struct Recorded(Vec<Event>);

impl DualPublisher {
    /// A publisher for `service`, which counts in `registry`.
    #[must_use]
    pub fn new(
        service: &'static str,
        file: FilePublisher,
        bus: EventBus,
        registry: &mut Registry,
    ) -> Self {
        let counted = Counted::default();
        let seraaj = registry.sub_registry_with_prefix("seraaj");
        seraaj.register("file_events", "Events written to the file", counted.lines.clone());
        let help =
            "Events that stand in the file and that the bus did not take, by the kind of error";
        seraaj.register("bus_failures", help, counted.failures.clone());
        Self { service, file, bus, counted, failure: Arc::default() }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// An event of this service, with an ID of its own.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the edge where events get their IDs")]
    pub fn event(&self, event_type: &str, payload: Value, time: Timestamp) -> Event {
        let (id, source) = (Uuid::now_v7().to_string(), self.service.to_owned());
        Event { id, event_type: event_type.to_owned(), payload, source, time }
    }

    /// The first half: writes `events` to the file, in their order.
    ///
    /// # Errors
    /// That of the file; the bus is not to be told of them then.
    pub async fn record(&self, events: Vec<Event>) -> io::Result<Recorded> {
        self.file.publish(&events).await?;
        self.counted.lines.inc_by(events.len() as u64);
        Ok(Recorded(events))
    }

    /// The second half: tells the bus, which takes no longer than its publish timeout for each event. A failure is
    /// logged where its kind changes, and counted.
    pub async fn send(&self, recorded: Recorded) {
        for event in recorded.0 {
            let (id, event_type) = (event.id.clone(), event.event_type.clone());
            let failure = self.send_one(event).await.err();
            if let Some(error) = &failure {
                self.counted.failures.get_or_create(&Failure { error: error.label() }).inc();
            }
            self.log(&id, &event_type, failure.as_ref());
        }
    }

    async fn send_one(&self, event: Event) -> Result<(), Error> {
        let encode = |source| Error::Encode { event_type: event.event_type.clone(), source };
        let payload = Payload::from_value(&event.payload).map_err(encode)?;
        let mut new = NewEvent::new(event.event_type, payload);
        new.source_service = Some(event.source);
        new.id = Some(event.id);
        self.bus.publish_or_spool(new).await?;
        Ok(())
    }

    /// One line when the kind of failure changes, not one for each event of an outage.
    fn log(&self, event_id: &str, event_type: &str, failure: Option<&Error>) {
        let mut last = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        let label = failure.map(Error::label);
        if *last == label {
            return;
        }
        *last = label;
        match failure {
            Some(error) => tracing::warn!(
                event_id,
                event_type,
                error = chain(error),
                "the event stands in the file alone: the bus did not take it"
            ),
            None => tracing::info!("the bus takes events again"),
        }
    }
}
