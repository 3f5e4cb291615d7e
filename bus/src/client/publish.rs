//! Publishing by the bus.

use eventbus_core::event::{NewEvent, Payload};
use eventbus_core::names::EntryId;
use serde::Serialize;

use crate::error::Error;

use super::EventBus;

impl EventBus {
    /// Publishes an event with this type, payload and source.
    ///
    /// # Errors
    /// As [`publish_event`](Self::publish_event), and [`Error::Encode`] if the payload has no JSON form.
    pub async fn publish(
        &self,
        event_type: &str,
        payload: &impl Serialize,
        source_service: Option<&str>,
    ) -> Result<EntryId, Error> {
        let payload = Payload::from_value(payload)
            .map_err(|source| Error::Encode { event_type: event_type.to_owned(), source })?;
        let event = NewEvent::new(event_type, payload);
        let event = match source_service {
            Some(source) => event.with_source_service(source),
            None => event,
        };
        self.publish_event(event).await
    }

    /// Appends an event to the stream and answers its entry's ID, within [`Durability::publish_timeout`](crate::config::Durability::publish_timeout).
    ///
    /// An event without an ID of its own gets a UUIDv7. An error does not say that Redis has not taken the event:
    /// publish it again with the same `id`, and handlers can tell the repeat. `key`, `id` and the trace context are
    /// passed on as they are, whatever they hold.
    ///
    /// # Errors
    /// [`Error::EventType`]; [`Error::TooLarge`] beyond [`MAX_PAYLOAD`](crate::MAX_PAYLOAD); [`Error::StreamFull`] at a hard cap that
    /// rejects; [`Error::MissingPermissions`] with all that the user lacks to publish; [`Error::NotDurable`] where the event stands
    /// in the stream, but not as safe as it should; [`Error::TimedOut`]; [`Error::File`], [`Error::Connect`] or
    /// [`Error::BreakerOpen`] without a connection; else what Redis answered.
    pub async fn publish_event(&self, event: NewEvent) -> Result<EntryId, Error> {
        self.publisher.publish_event(event).await
    }
}
