//! Publishing through the outbox: to disk first, then to Redis.

use std::time::Duration;

use eventbus_core::event::NewEvent;
use eventbus_core::names::EntryId;

use crate::client::EventBus;
use crate::error::{Error, chain};
use crate::outbox::{MAX_RECORD, Outbox, Refused, SetAsideEvent, record};
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
    /// Writes an event to the outbox, which sends it to the stream at least once and in the order of writing. An event that
    /// Redis refuses for its own sake is [set aside](Self::set_aside_events).
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

    /// Waits until every event in the outbox is sent or [set aside](Self::set_aside_events), for at most `limit`, and
    /// returns how many are still unsent. Those are sent when the outbox is opened again.
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

    /// Lists the events of the outbox that were set aside, the oldest first; none without an outbox.
    ///
    /// An event is set aside, in a file beside the others, when Redis refused it alone five times and answered other
    /// commands meanwhile: most often it is larger than the server or a proxy accepts. The events after it are sent, and
    /// [`send_set_aside`](Self::send_set_aside) sends it again. Such events count in the maximum size of the outbox and in
    /// the metric `eventbus_outbox_set_aside_total`, and not as unsent. Only the process that has the directory can list
    /// them.
    ///
    /// ```no_run
    /// # async fn f(bus: eventbus::EventBus) -> Result<(), eventbus::Error> {
    /// for event in bus.set_aside_events().await? {
    ///     println!("{} ({} bytes): {}", event.event_id, event.bytes, event.cause);
    /// }
    /// // The server accepts larger requests now.
    /// let sent = bus.send_set_aside(None).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::OutboxFile`] if the directory cannot be read.
    pub async fn set_aside_events(&self) -> Result<Vec<SetAsideEvent>, Error> {
        let Some(outbox) = &self.outbox else { return Ok(Vec::new()) };
        let listed = outbox.list_set_aside().await?;
        Ok(listed.into_iter().map(|(_, event)| event).collect())
    }

    /// Sends events that were [set aside](Self::set_aside_events) again, with the same `id` and after all that is in the
    /// stream: those with this event ID, or all, the oldest first. Returns the number of events sent.
    ///
    /// An event is removed from the outbox once Redis has it. If this future is dropped, an event that was just sent may
    /// be sent once more.
    ///
    /// # Errors
    /// Those of [`publish_event`](Self::publish_event) for the first event that was refused, which stays; the events after
    /// it are tried unless Redis is unreachable ([`Error::BreakerOpen`]). [`Error::OutboxFile`] if the disk fails.
    pub async fn send_set_aside(&self, event_id: Option<&str>) -> Result<u64, Error> {
        let Some(outbox) = &self.outbox else { return Ok(0) };
        let _one_call_at_a_time = outbox.sending_again.lock().await;
        let (mut sent, mut refused) = (0, None);
        for (at, event) in outbox.list_set_aside().await? {
            if event_id.is_some_and(|id| id != event.event_id) {
                continue;
            }
            let Some(body) = outbox.read_set_aside(at).await? else { continue };
            let Some(record) = record::read(&body) else { continue };
            match self.publisher.publish_fields(&event.event_type, &record.fields).await {
                Ok(_) => {
                    outbox.remove_set_aside(at).await?;
                    sent += 1;
                }
                Err(error) => {
                    let (stream, event_id) = (self.stream(), event.event_id);
                    tracing::warn!(%stream, event_id, error = chain(&error),
                        "cannot send an event that was set aside; it stays there");
                    let is_unreachable = matches!(error, Error::BreakerOpen { .. });
                    refused.get_or_insert(error);
                    if is_unreachable {
                        break;
                    }
                }
            }
        }
        refused.map_or(Ok(sent), Err)
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
