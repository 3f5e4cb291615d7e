//! Publishing through the outbox: to disk first, then to Redis.

use std::time::Duration;

use eventbus_core::event::NewEvent;
use eventbus_core::names::EntryId;

use crate::client::EventBus;
use crate::error::Error;
use crate::outbox::{MAX_RECORD, Outbox, Refused, record};
use crate::publish::{check, new_id, now, wall_clock};

/// Result of a publish through the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The event is in the stream, as this entry.
    Published(EntryId),
    /// The event is on disk; it will be sent to the stream after the events that were spooled before it.
    Spooled,
}

impl EventBus {
    /// Writes an event to the outbox, which sends it to the stream at least once and in the order of writing.
    ///
    /// Returns [`Published`](PublishOutcome::Published) once the event is on disk and in the stream. Returns
    /// [`Spooled`](PublishOutcome::Spooled) if it is on disk and not in the stream within the publish timeout
    /// ([`Durability::publish_timeout`](crate::config::Durability::publish_timeout)); at once if the last attempt to send
    /// failed, the circuit breaker is open, or more than 1,024 events or 4 MiB wait. If the outbox is full or its disk
    /// fails, the event is published directly, before the events that wait.
    /// Without an outbox (`REDIS_OUTBOX_DIR`) this is [`publish_event`](Self::publish_event).
    ///
    /// If this future is dropped, the event may still be written and sent.
    ///
    /// ```no_run
    /// # async fn f(bus: eventbus::EventBus, event: eventbus::NewEvent) -> Result<(), eventbus::Error> {
    /// use eventbus::PublishOutcome;
    ///
    /// match bus.publish_or_spool(event).await? {
    ///     PublishOutcome::Published(id) => println!("in the stream as {id}"),
    ///     PublishOutcome::Spooled => println!("on disk, to be sent"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::EventType`]; [`Error::TooLarge`]; [`Error::RecordTooLarge`]; [`Error::OutboxFull`] or
    /// [`Error::OutboxWrite`] if the event could be neither stored nor published, with the publish error as source.
    pub async fn publish_or_spool(&self, mut event: NewEvent) -> Result<PublishOutcome, Error> {
        let Some(outbox) = &self.outbox else {
            return self.publish_event(event).await.map(PublishOutcome::Published);
        };
        check(&event)?;
        let began = now();
        let id = event.id.get_or_insert_with(new_id).clone();
        let stamp = wall_clock();
        let made_ms = u64::try_from(stamp.as_millisecond()).unwrap_or(0);
        let body = record::write(made_ms, &event.encode(&id, stamp));
        if body.len() > MAX_RECORD {
            let (event_type, size) = (event.event_type, body.len());
            return Err(Error::RecordTooLarge { event_type, size, limit: MAX_RECORD });
        }
        let sent = match outbox.store(body).await {
            Ok(sent) => sent,
            Err(refused) => return self.publish_directly(outbox, event, refused).await,
        };
        let metrics = &self.publisher.metrics;
        let limit = if outbox.is_stuck() { Duration::ZERO } else { self.publisher.timeout };
        match tokio::time::timeout(limit, sent).await {
            Ok(Ok(id)) => {
                metrics.published(&event.event_type, now() - began);
                Ok(PublishOutcome::Published(id))
            }
            _ => {
                metrics.failed(&event.event_type, "spooled", now() - began);
                Ok(PublishOutcome::Spooled)
            }
        }
    }

    /// Waits until every event in the outbox is sent, for at most `limit`, and returns how many are still unsent. Those are
    /// sent when the outbox is opened again.
    ///
    /// ```no_run
    /// # async fn f(bus: eventbus::EventBus) {
    /// let unsent = bus.flush_outbox(std::time::Duration::from_secs(5)).await;
    /// # }
    /// ```
    pub async fn flush_outbox(&self, limit: Duration) -> u64 {
        let Some(outbox) = &self.outbox else { return 0 };
        // The number that is left after the time-out is the result.
        tokio::time::timeout(limit, outbox.emptied()).await.ok();
        outbox.unsent()
    }

    async fn publish_directly(
        &self,
        outbox: &Outbox,
        event: NewEvent,
        refused: Refused,
    ) -> Result<PublishOutcome, Error> {
        let dir = outbox.directory().to_owned();
        self.publish_event(event).await.map(PublishOutcome::Published).map_err(|error| {
            let source = Box::new(error);
            match refused {
                Refused::Full => Error::OutboxFull { dir, cap: outbox.cap(), source },
                Refused::Failed(cause) => Error::OutboxWrite { dir, cause, source },
            }
        })
    }
}
