//! Publishing: concurrent callers share one connection, which sends in one write what has gathered.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::error::Error;
use crate::event::{NewEvent, Payload};
use crate::event_bus::EventBus;
use crate::names::EntryId;

const OPERATION: &str = "publish an event";

/// A payload may have this many bytes.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// A publish fails after this long, connecting included.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_millis(250);

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
        let event = NewEvent {
            source_service: source_service.map(str::to_owned),
            ..NewEvent::new(event_type, payload)
        };
        self.publish_event(event).await
    }

    /// Appends an event to the stream and answers its entry's ID, within [`PUBLISH_TIMEOUT`].
    ///
    /// An event without an ID of its own gets a UUIDv7. An error does not say that Redis has not taken the event:
    /// publish it again with the same `id`, and handlers can tell the repeat.
    ///
    /// # Errors
    /// [`Error::NoType`]; [`Error::TooLarge`] beyond [`MAX_PAYLOAD`]; [`Error::TimedOut`]; else what Redis answered.
    pub async fn publish_event(&self, event: NewEvent) -> Result<EntryId, Error> {
        if event.event_type.is_empty() {
            return Err(Error::NoType);
        }
        let size = event.payload.as_str().len();
        if size > MAX_PAYLOAD {
            let event_type = event.event_type;
            return Err(Error::TooLarge { event_type, size, limit: MAX_PAYLOAD });
        }
        let id = event.id.clone().unwrap_or_else(new_id);
        let fields = event.encode(&id, wall_clock());
        let began = now();
        let append = tokio::time::timeout(PUBLISH_TIMEOUT, self.append(&fields));
        let result = append.await.unwrap_or_else(|_| {
            let (stream, limit) = (self.stream().clone(), PUBLISH_TIMEOUT);
            Err(Error::TimedOut { operation: OPERATION, stream, limit })
        });
        match &result {
            Ok(_) => self.published.published(now() - began),
            Err(error) => self.published.failed(error.label(), now() - began),
        }
        result
    }

    async fn append(&self, fields: &[(&'static str, Cow<'_, str>)]) -> Result<EntryId, Error> {
        let (number, mut conn) = self.connection.open().await?;
        let stream = self.stream();
        let mut command = redis::cmd("XADD");
        command.arg(stream.as_str()).arg("*");
        for (name, value) in fields {
            command.arg(name).arg(value.as_ref());
        }
        let answer = command.query_async::<String>(&mut conn).await;
        let failed =
            |source| Error::Stream { operation: OPERATION, stream: stream.clone(), source };
        let id = self.connection.judge(number, answer.map_err(failed)).await?;
        id.parse().map_err(|_| Error::Reply {
            operation: OPERATION,
            stream: stream.clone(),
            missing: "entry ID",
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that names events")]
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[expect(clippy::disallowed_methods, reason = "the edge that stamps events")]
fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures")]
fn now() -> Instant {
    Instant::now()
}
