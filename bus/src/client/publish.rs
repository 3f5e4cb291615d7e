//! Publishing with the bus.

use eventbus_core::event::{NewEvent, Payload};
use eventbus_core::names::EntryId;
use serde::Serialize;

use crate::error::Error;

use super::EventBus;

impl EventBus {
    /// Publishes an event with this type, payload and source, and returns the ID of its entry.
    ///
    /// ```no_run
    /// # async fn f(bus: eventbus::EventBus) -> Result<(), eventbus::Error> {
    /// let payload = serde_json::json!({"orderId": "o-1"});
    /// let id = bus.publish("order.created", &payload, Some("shop")).await?;
    /// # Ok(()) }
    /// ```
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

    /// Appends an event to the stream and returns the ID of its entry, within
    /// [`Durability::publish_timeout`](crate::config::Durability::publish_timeout).
    ///
    /// An event without an ID of its own gets a UUIDv7. After an error the event may be in the stream all the same:
    /// publish it again with the same `id`, so that handlers recognise the repeat. `key`, `id` and the trace context are
    /// passed on unchecked and unchanged.
    ///
    /// ```no_run
    /// # async fn f(bus: eventbus::EventBus) -> Result<(), Box<dyn std::error::Error>> {
    /// use eventbus::{NewEvent, Payload};
    ///
    /// let payload = Payload::from_value(&serde_json::json!({"orderId": "o-1"}))?;
    /// bus.publish_event(NewEvent::new("order.created", payload).with_key("o-1")).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::EventType`]; [`Error::TooLarge`] beyond [`MAX_PAYLOAD`](crate::MAX_PAYLOAD); [`Error::StreamFull`] at a hard
    /// cap that rejects; [`Error::MissingPermissions`] with every missing permission; [`Error::NotDurable`] if the event is
    /// in the stream with too few confirmations; [`Error::TimedOut`]; [`Error::File`], [`Error::Connect`] or
    /// [`Error::BreakerOpen`] without a connection; else Redis' error.
    pub async fn publish_event(&self, event: NewEvent) -> Result<EntryId, Error> {
        self.publisher.publish_event(event).await
    }
}
