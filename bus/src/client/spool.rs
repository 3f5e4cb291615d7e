//! Publishing by way of the outbox: on disk first, then to Redis.

use std::time::Duration;

use eventbus_core::event::NewEvent;
use eventbus_core::names::EntryId;

use crate::client::EventBus;
use crate::error::Error;
use crate::outbox::{MAX_RECORD, Outbox, Refused, record};
use crate::publish::{check, new_id, now, wall_clock};

/// Place of an event that was published through the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It stands in the stream.
    Published(EntryId),
    /// It is on disk, and will stand in the stream behind what was spooled before it.
    Spooled,
}

impl EventBus {
    /// Writes an event to the outbox, which sends it to the stream, at least once and behind what was written before.
    ///
    /// Answers once the event is on disk and Redis has taken it, or at most the publish timeout
    /// ([`Durability::publish_timeout`](crate::config::Durability::publish_timeout)) after it is on disk; at once where the last
    /// try to send failed, the circuit breaker is open, or more than 1,024 events or 4 MiB wait. Where the outbox is full
    /// or its disk fails, the event is published directly, ahead of what waits.
    /// Without an outbox (`REDIS_OUTBOX_DIR`) this is [`publish_event`](Self::publish_event).
    ///
    /// Once begun, the event may be written and sent even if this future is dropped.
    ///
    /// # Errors
    /// [`Error::EventType`]; [`Error::TooLarge`]; [`Error::RecordTooLarge`]; [`Error::OutboxFull`] and [`Error::OutboxWrite`] where the event was
    /// not kept and publishing it failed, with the reason of the latter as source.
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
        let sent = match outbox.keep(body).await {
            Ok(sent) => sent,
            Err(refused) => return self.publish_past(outbox, event, refused).await,
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

    /// Waits until everything in the outbox is sent, for a clean end, and answers how many events are not. They are sent
    /// when the outbox is opened again.
    pub async fn flush_outbox(&self, limit: Duration) -> u64 {
        let Some(outbox) = &self.outbox else { return 0 };
        // What is left when the time is over is what is asked for.
        tokio::time::timeout(limit, outbox.emptied()).await.ok();
        outbox.unsent()
    }

    async fn publish_past(
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
