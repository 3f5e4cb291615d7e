//! Publishing: concurrent callers share one connection, which sends in one write what has gathered.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::BusConfig;
use crate::connect::connect;
use crate::error::{Error, Remedy};
use crate::event::{NewEvent, Payload};
use crate::metrics::{Metrics, StreamMetrics};
use crate::names::{EntryId, StreamKey};

const OPERATION: &str = "publish an event";

/// A payload may have this many bytes.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// A publish fails after this long, connecting included.
pub const PUBLISH_TIMEOUT: Duration = Duration::from_millis(250);

/// A bus: publishes to one stream. Clones share the connection, which is made anew after a failure.
#[derive(Clone)]
pub struct EventBus {
    config: Arc<BusConfig>,
    metrics: StreamMetrics,
    connection: Arc<Mutex<Connection>>,
}

/// Numbered, so that a late failure of an old connection does not drop its successor.
#[derive(Default)]
struct Connection {
    number: u64,
    open: Option<MultiplexedConnection>,
}

impl EventBus {
    /// Connects, and pings.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Connect`], or [`Error::Server`] where the ping is refused.
    pub async fn connect(config: BusConfig, metrics: Metrics) -> Result<Self, Error> {
        let connection = Arc::new(Mutex::new(Connection::default()));
        let metrics = metrics.of_stream(&config.stream);
        let bus = Self { config: Arc::new(config), metrics, connection };
        bus.ping().await?;
        Ok(bus)
    }

    /// The stream that it publishes to.
    #[must_use]
    pub fn stream(&self) -> &StreamKey {
        &self.config.stream
    }

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
            Ok(_) => self.metrics.published(now() - began),
            Err(error) => self.metrics.failed(error.label(), now() - began),
        }
        result
    }

    /// Asks Redis for an answer.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Connect`] without a connection, else [`Error::Server`].
    pub async fn ping(&self) -> Result<(), Error> {
        let (number, mut conn) = self.open().await?;
        let answer = redis::cmd("PING").exec_async(&mut conn).await;
        let endpoint = self.config.redis.endpoint();
        let failed = |source| Error::Server { operation: "ping Redis", endpoint, source };
        self.judge(number, answer.map_err(failed)).await
    }

    async fn append(&self, fields: &[(&'static str, Cow<'_, str>)]) -> Result<EntryId, Error> {
        let (number, mut conn) = self.open().await?;
        let stream = self.stream();
        let mut command = redis::cmd("XADD");
        command.arg(stream.as_str()).arg("*");
        for (name, value) in fields {
            command.arg(name).arg(value.as_ref());
        }
        let answer = command.query_async::<String>(&mut conn).await;
        let failed =
            |source| Error::Stream { operation: OPERATION, stream: stream.clone(), source };
        let id = self.judge(number, answer.map_err(failed)).await?;
        id.parse().map_err(|_| Error::Reply {
            operation: OPERATION,
            stream: stream.clone(),
            missing: "entry ID",
        })
    }

    async fn open(&self) -> Result<(u64, MultiplexedConnection), Error> {
        let mut connection = self.connection.clone().lock_owned().await;
        if let Some(open) = &connection.open {
            return Ok((connection.number, open.clone()));
        }
        let config = self.config.clone();
        // A task of its own, which outlives this caller: a connect that takes longer than a publish serves the next.
        let connecting = tokio::spawn(async move {
            // Below the limit of a publish, so that a silent connection is noticed, and replaced, by its own time-out.
            let open = connect(&config.redis, PUBLISH_TIMEOUT * 4 / 5).await?;
            connection.number += 1;
            connection.open = Some(open.clone());
            Ok((connection.number, open))
        });
        match connecting.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending, and this caller with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Drops the connection behind a failure that a new one may mend.
    async fn judge<T>(&self, number: u64, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            let broken = error.code().is_none() || error.remedy() == Remedy::Reconnect;
            let mut connection = self.connection.lock().await;
            if broken && connection.number == number {
                connection.open = None;
            }
        }
        result
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
