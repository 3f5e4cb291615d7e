//! Publishing: concurrent callers share one connection, which pipelines their commands into common writes.

mod batch;
mod confirmed;
mod durability;
mod permissions;
mod trimmer;

use std::sync::Mutex;
use std::time::Duration;

use eventbus_core::event::{NewEvent, is_type};
use eventbus_core::names::{EntryId, StreamKey};
use eventbus_core::retention::{Admission, AdmissionGate, HardCap, TrimMode};
use redis::{Cmd, RedisResult, Value};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::Instrument;

use crate::config::{BusConfig, Durability};
use crate::error::Error;
use crate::metrics::{Metrics, StreamMetrics};
use crate::redis::SharedConnection;
use crate::redis::reply::entry_id;

use confirmed::ConfirmedSender;
use trimmer::Trimmer;

pub(crate) use batch::OrderedSender;

const OPERATION: &str = "publish an event";

/// Maximum size of a payload, in bytes.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// Publisher to one stream, on a connection that it shares with others.
pub(crate) struct Publisher {
    stream: StreamKey,
    connection: SharedConnection,
    /// `true` if finished entries are trimmed: a refusal then also names the permissions for trimming.
    trims: bool,
    pub(crate) metrics: StreamMetrics,
    trimmer: Trimmer,
    capped: Option<Capped>,
    confirmed: Option<ConfirmedSender>,
    /// `XADD … MAXLEN ~`.
    max_length: Option<u64>,
    pub(crate) timeout: Duration,
    started: Instant,
    checked: OnceCell<()>,
}

/// Hard cap of the stream, with its admission gate.
struct Capped {
    cap: HardCap,
    gate: Mutex<AdmissionGate>,
}

/// Event that is in the stream.
#[derive(Debug)]
struct Appended {
    id: EntryId,
    /// The stream's length, if it was read with the event.
    length: Option<u64>,
    /// [`Error::NotDurable`] if the event has too few confirmations.
    not_durable: Option<Error>,
}

impl Publisher {
    /// Creates a publisher for `config`, without waiting for Redis.
    pub fn start(config: &BusConfig, connection: &SharedConnection, metrics: &Metrics) -> Self {
        let (stream, retention) = (&config.stream, &config.retention);
        let of_stream = metrics.of_stream(stream);
        let trimmer = Trimmer::start(
            connection.clone(),
            stream.clone(),
            retention.clone(),
            config.missing_group_hold,
            of_stream.clone(),
        );
        let capped =
            retention.hard_cap.map(|cap| Capped { cap, gate: Mutex::new(AdmissionGate::new(cap)) });
        let confirmed = match config.durability {
            Durability::Async => None,
            durability => {
                Some(ConfirmedSender::start(connection, stream.clone(), durability, metrics))
            }
        };
        Self {
            stream: stream.clone(),
            connection: connection.clone(),
            trims: retention.mode == TrimMode::Acked,
            metrics: of_stream,
            trimmer,
            capped,
            confirmed,
            max_length: (retention.mode == TrimMode::MaxLen).then_some(retention.max_entries),
            timeout: config.durability.publish_timeout(),
            started: now(),
            checked: OnceCell::new(),
        }
    }

    /// Checks once that the server supports the configured hard cap and durability. A check that fails is repeated by
    /// the next call.
    ///
    /// # Errors
    /// [`Error::MissingPermissions`] without permission to enforce the hard cap; [`Error::CannotFsync`]; else the error of
    /// connecting.
    pub async fn check(&self) -> Result<(), Error> {
        let check = async || {
            if let Some(Capped { cap, gate }) = &self.capped {
                // With the length, a process that publishes a single event also finds a full stream.
                let length =
                    permissions::check(cap.overflow, &self.connection, &self.stream).await?;
                if locked(gate).published(length) {
                    self.trimmer.request();
                }
            }
            match &self.confirmed {
                Some(confirmed) => confirmed.check().await,
                None => Ok(()),
            }
        };
        self.checked.get_or_try_init(check).await?;
        Ok(())
    }

    /// Admits an event to the stream, and trims first if the stream is at its cap. Returns `true` if the length is to
    /// be read with the event.
    ///
    /// # Errors
    /// [`Error::StreamFull`], or the error of trimming.
    async fn admit(&self, now: Instant) -> Result<bool, Error> {
        let Some(Capped { cap, gate }) = &self.capped else { return Ok(false) };
        let refused =
            |length| Error::StreamFull { stream: self.stream.clone(), length, cap: cap.entries };
        let admission = locked(gate).admit(now - self.started);
        match admission {
            Admission::Send => Ok(false),
            Admission::SendAndCheck => Ok(true),
            Admission::Refuse(length) => Err(refused(length)),
            Admission::TrimFirst => {
                let length = self.trimmer.trim_now().await?;
                locked(gate).trimmed(length);
                if length >= cap.entries { Err(refused(length)) } else { Ok(false) }
            }
        }
    }

    /// Returns an XADD without fields.
    fn xadd(&self) -> Cmd {
        let mut command = redis::cmd("XADD");
        command.arg(self.stream.as_str());
        if let Some(length) = self.max_length {
            command.arg("MAXLEN").arg("~").arg(length);
        }
        command.arg("*");
        command
    }

    fn appended(&self, appended: &Appended) {
        self.trimmer.published();
        if let (Some(capped), Some(length)) = (&self.capped, appended.length)
            && locked(&capped.gate).published(length)
        {
            self.trimmer.request();
        }
    }

    /// Appends an event to the stream and returns its entry's ID; see
    /// [`EventBus::publish_event`](crate::EventBus::publish_event).
    ///
    /// # Errors
    /// Those of [`EventBus::publish_event`](crate::EventBus::publish_event).
    pub async fn publish_event(&self, event: NewEvent) -> Result<EntryId, Error> {
        check(&event)?;
        let id = event.id.clone().unwrap_or_else(new_id);
        let span = tracing::debug_span!("publish", stream = %self.stream,
            event_type = event.event_type, event_id = id, traceparent = event.traceparent);
        let fields = event.encode(&id, wall_clock());
        let fields: Vec<(&[u8], &[u8])> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        self.publish_fields(&event.event_type, &fields).instrument(span).await
    }

    /// Appends an event with these fields, within the publish timeout, and counts it.
    ///
    /// # Errors
    /// Those of [`EventBus::publish_event`](crate::EventBus::publish_event).
    pub async fn publish_fields(
        &self,
        event_type: &str,
        fields: &[(&[u8], &[u8])],
    ) -> Result<EntryId, Error> {
        let (began, limit) = (now(), self.timeout);
        let append = self.append(fields, began);
        let result = tokio::time::timeout(limit, append).await.unwrap_or_else(|_| {
            match &self.confirmed {
                Some(confirmed) => confirmed.timed_out(),
                None => self.connection.timed_out(),
            }
            let stream = self.stream.clone();
            Err(Error::TimedOut { operation: OPERATION, stream, limit })
        });
        let metrics = &self.metrics;
        match &result {
            Ok(_) => metrics.published(event_type, now() - began),
            Err(error) => metrics.failed(event_type, error.label(), now() - began),
        }
        result
    }

    async fn append(&self, fields: &[(&[u8], &[u8])], now: Instant) -> Result<EntryId, Error> {
        self.check().await?;
        let with_length = self.admit(now).await?;
        let mut command = self.xadd();
        for (name, value) in fields {
            command.arg(*name).arg(*value);
        }
        let appended = match &self.confirmed {
            Some(confirmed) => confirmed.append(command, with_length).await,
            None => self.send(command, with_length).await,
        };
        let appended = match appended {
            Err(error) if error.code() == Some("NOPERM") => {
                return Err(self.missing_permissions(error).await);
            }
            result => result?,
        };
        // An event with too few confirmations counts for trimming too.
        self.appended(&appended);
        appended.not_durable.map_or(Ok(appended.id), Err)
    }

    /// Returns an error with every permission that a refused publish needs; `refused` itself if they cannot be checked.
    async fn missing_permissions(&self, refused: Error) -> Error {
        match permissions::missing(self.trims, &self.connection, &self.stream).await {
            Ok(missing) if !missing.is_empty() => Error::MissingPermissions {
                operation: OPERATION,
                stream: self.stream.clone(),
                missing,
            },
            _ => refused,
        }
    }

    /// Sends an XADD, and repeats it once if the connection was closed. `with_length` reads the length in the same
    /// write.
    async fn send(&self, command: Cmd, with_length: bool) -> Result<Appended, Error> {
        match self.send_once(&command, with_length).await {
            // The event may be in the stream already; then it is there twice, with the same event ID.
            Err(error) if error.is_closed() => self.send_once(&command, with_length).await,
            result => result,
        }
    }

    async fn send_once(&self, command: &Cmd, with_length: bool) -> Result<Appended, Error> {
        let (number, mut conn) = self.connection.open().await?;
        let stream = &self.stream;
        let failed = |source: redis::RedisError| Error::Stream {
            operation: OPERATION,
            stream: stream.clone(),
            source: source.into(),
        };
        let answer = if with_length {
            let mut pipe = redis::pipe();
            pipe.add_command(command.clone()).cmd("XLEN").arg(stream.as_str()).ignore_errors();
            let answers: RedisResult<Vec<RedisResult<Value>>> = pipe.query_async(&mut conn).await;
            answers.map(|answers| {
                let mut answers = answers.into_iter();
                (answers.next(), answers.next())
            })
        } else {
            Ok((Some(command.query_async(&mut conn).await), None))
        };
        let answer = answer.and_then(|(id, length)| Ok((id.unwrap_or(Ok(Value::Nil))?, length)));
        let (id, length) = self.connection.judge(number, answer.map_err(failed))?;
        appended(&id, length.as_ref(), stream)
    }
}

/// Checks an event's type and the size of its payload.
///
/// # Errors
/// [`Error::EventType`], [`Error::TooLarge`].
pub(crate) fn check(event: &NewEvent) -> Result<(), Error> {
    if !is_type(&event.event_type) {
        return Err(Error::event_type(&event.event_type));
    }
    let size = event.payload.as_str().len();
    if size > MAX_PAYLOAD {
        let event_type = event.event_type.clone();
        return Err(Error::TooLarge { event_type, size, limit: MAX_PAYLOAD });
    }
    Ok(())
}

/// Decodes the replies to XADD and, if it was sent, XLEN. A failed XLEN is not an error: a later publish reads the
/// length again.
fn appended(
    id: &Value,
    length: Option<&RedisResult<Value>>,
    stream: &StreamKey,
) -> Result<Appended, Error> {
    let length = match length {
        Some(Ok(Value::Int(length))) => u64::try_from(*length).ok(),
        _ => None,
    };
    let id = entry_id(id).ok_or_else(|| Error::Reply {
        operation: OPERATION,
        stream: stream.clone(),
        missing: "entry ID",
    })?;
    Ok(Appended { id, length, not_durable: None })
}

/// Locks the gate. After a panic of another holder the length is still good enough.
fn locked(gate: &Mutex<AdmissionGate>) -> std::sync::MutexGuard<'_, AdmissionGate> {
    gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "the edge that names events")]
pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[expect(clippy::disallowed_methods, reason = "the edge that stamps events")]
pub(crate) fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
