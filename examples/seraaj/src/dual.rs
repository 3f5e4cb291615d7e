//! Dual publishing: to the platform's file first, then to the event bus, with the same event ID.

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

/// Publisher of a service's events to file and bus. Clones share it.
#[derive(Clone)]
pub struct DualPublisher {
    service: &'static str,
    file: FilePublisher,
    bus: EventBus,
    metrics: DualMetrics,
    /// Label of the error of the last event; `None` if it was published.
    failure: Arc<Mutex<Option<&'static str>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    error: &'static str,
}

#[derive(Clone, Default)]
struct DualMetrics {
    lines: Counter,
    failures: Family<Failure, Counter>,
}

/// Events that are in the file and have to be sent to the bus.
#[must_use = "the events are not published yet"]
pub struct Recorded(Vec<Event>);

impl DualPublisher {
    /// Creates a publisher for `service`, which counts in `registry`.
    #[must_use]
    pub fn new(
        service: &'static str,
        file: FilePublisher,
        bus: EventBus,
        registry: &mut Registry,
    ) -> Self {
        let metrics = DualMetrics::default();
        let seraaj = registry.sub_registry_with_prefix("seraaj");
        seraaj.register("file_events", "Events written to the file", metrics.lines.clone());
        let help = "Events in the file that could not be published to the bus, by kind of error";
        seraaj.register("bus_failures", help, metrics.failures.clone());
        Self { service, file, bus, metrics, failure: Arc::default() }
    }

    /// Returns the name of the service.
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.service
    }

    /// Creates an event of this service with a new ID.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the edge that generates IDs")]
    pub fn event(&self, event_type: &str, payload: Value, time: Timestamp) -> Event {
        let (id, source) = (Uuid::now_v7().to_string(), self.service.to_owned());
        Event { id, event_type: event_type.to_owned(), payload, source, time }
    }

    /// Writes `events` to the file, in their order: the first step.
    ///
    /// # Errors
    /// The error of the file; the events must not be published then.
    pub async fn record(&self, events: Vec<Event>) -> io::Result<Recorded> {
        self.file.publish(&events).await?;
        self.metrics.lines.inc_by(events.len() as u64);
        Ok(Recorded(events))
    }

    /// Publishes the events to the bus: the second step. Each takes at most the publish timeout. A failure is counted, and
    /// logged when its kind changes.
    pub async fn send(&self, recorded: Recorded) {
        for event in recorded.0 {
            let (id, event_type) = (event.id.clone(), event.event_type.clone());
            let failure = self.send_one(event).await.err();
            if let Some(error) = &failure {
                self.metrics.failures.get_or_create(&Failure { error: error.label() }).inc();
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

    /// Logs one line when the kind of failure changes, not one for each event of an outage.
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
                "cannot publish the event to the bus; it is only in the file"
            ),
            None => tracing::info!("publishing to the bus recovered"),
        }
    }
}
