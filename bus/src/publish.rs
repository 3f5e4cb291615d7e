//! Publishing: concurrent callers share one connection, which sends in one write what has gathered.

mod batch;
mod confirmed;
mod durability;
mod permissions;
mod trimmer;

use std::sync::Mutex;
use std::time::Duration;

use eventbus_core::event::{NewEvent, is_type};
use eventbus_core::names::{EntryId, StreamKey};
use eventbus_core::retention::{Gate, HardCap, Pass, TrimMode};
use redis::{Cmd, RedisResult, Value};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::Instrument;

use crate::config::{BusConfig, Durability};
use crate::error::Error;
use crate::metrics::{Metrics, StreamMetrics};
use crate::redis::SharedConnection;
use crate::redis::reply::entry_id;

use confirmed::Confirmed;
use trimmer::Trimmer;

pub(crate) use batch::Batches;

const OPERATION: &str = "publish an event";

/// A payload may have this many bytes.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// What publishing needs beside the connection that it shares.
pub(crate) struct Publisher {
    stream: StreamKey,
    connection: SharedConnection,
    /// Whether entries that every group has finished are trimmed, so that a refusal names what that needs too.
    trims: bool,
    pub(crate) metrics: StreamMetrics,
    trimmer: Trimmer,
    full: Option<Full>,
    confirmed: Option<Confirmed>,
    /// `XADD … MAXLEN ~`.
    max_length: Option<u64>,
    pub(crate) timeout: Duration,
    started: Instant,
    checked: OnceCell<()>,
}

/// What is known of a stream with a hard cap.
struct Full {
    cap: HardCap,
    gate: Mutex<Gate>,
}

/// An event that stands in the stream.
#[derive(Debug)]
struct Appended {
    id: EntryId,
    /// The stream's length, where it was asked for.
    length: Option<u64>,
    /// [`Error::NotDurable`] where it stands there, but not as safe as it should.
    doubt: Option<Error>,
}

impl Publisher {
    /// Makes ready what `config` asks for, without waiting for Redis.
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
        let full = retention.hard_cap.map(|cap| Full { cap, gate: Mutex::new(Gate::new(cap)) });
        let confirmed = match config.durability {
            Durability::Async => None,
            durability => Some(Confirmed::start(connection, stream.clone(), durability, metrics)),
        };
        Self {
            stream: stream.clone(),
            connection: connection.clone(),
            trims: retention.mode == TrimMode::Acked,
            metrics: of_stream,
            trimmer,
            full,
            confirmed,
            max_length: (retention.mode == TrimMode::MaxLen).then_some(retention.max_entries),
            timeout: config.durability.publish_timeout(),
            started: now(),
            checked: OnceCell::new(),
        }
    }

    /// Has the server tell, once, what cannot be had of what was asked for.
    ///
    /// # Errors
    /// [`Error::MissingPermissions`] where the user may not keep the hard cap; [`Error::CannotFsync`]; else as connecting, and then
    /// it is asked again.
    pub async fn check(&self) -> Result<(), Error> {
        let check = async || {
            if let Some(Full { cap, gate }) = &self.full {
                // So that a process that publishes one event finds the stream full too.
                let length =
                    permissions::check(cap.overflow, &self.connection, &self.stream).await?;
                if locked(gate).noted(length) {
                    self.trimmer.wake();
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

    /// Whether to ask for the length with an event that is published now.
    ///
    /// # Errors
    /// [`Error::StreamFull`], or what Redis answered when it was asked to make room.
    async fn pass(&self, now: Instant) -> Result<bool, Error> {
        let Some(Full { cap, gate }) = &self.full else { return Ok(false) };
        let refused =
            |length| Error::StreamFull { stream: self.stream.clone(), length, cap: cap.entries };
        let pass = locked(gate).pass(now - self.started);
        match pass {
            Pass::Send => Ok(false),
            Pass::SendAndAsk => Ok(true),
            Pass::Refuse(length) => Err(refused(length)),
            Pass::MakeRoom => {
                let length = self.trimmer.make_room().await?;
                locked(gate).looked(length);
                if length >= cap.entries { Err(refused(length)) } else { Ok(false) }
            }
        }
    }

    /// An XADD without its fields.
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
        if let (Some(full), Some(length)) = (&self.full, appended.length)
            && locked(&full.gate).noted(length)
        {
            self.trimmer.wake();
        }
    }

    /// Appends an event to the stream and returns its entry's ID; see [`EventBus::publish_event`](crate::EventBus::publish_event).
    ///
    /// # Errors
    /// Those of [`EventBus::publish_event`](crate::EventBus::publish_event).
    pub async fn publish_event(&self, event: NewEvent) -> Result<EntryId, Error> {
        check(&event)?;
        let id = event.id.clone().unwrap_or_else(new_id);
        let (began, limit) = (now(), self.timeout);
        let span = tracing::debug_span!("publish", stream = %self.stream,
            event_type = event.event_type, event_id = id, traceparent = event.traceparent);
        let append = self.append(&event, &id, began).instrument(span);
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
            Ok(_) => metrics.published(&event.event_type, now() - began),
            Err(error) => metrics.failed(&event.event_type, error.label(), now() - began),
        }
        result
    }

    async fn append(&self, event: &NewEvent, id: &str, now: Instant) -> Result<EntryId, Error> {
        self.check().await?;
        let asks = self.pass(now).await?;
        let mut command = self.xadd();
        for (name, value) in event.encode(id, wall_clock()) {
            command.arg(name).arg(value.as_ref());
        }
        let appended = match &self.confirmed {
            Some(confirmed) => confirmed.append(command, asks).await,
            None => self.send(command, asks).await,
        };
        let appended = match appended {
            Err(error) if error.code() == Some("NOPERM") => return Err(self.lacking(error).await),
            result => result?,
        };
        // However safe it is, it takes its place.
        self.appended(&appended);
        appended.doubt.map_or(Ok(appended.id), Err)
    }

    /// What a publish that was refused lacks, all at once; `refused` itself where that cannot be told.
    async fn lacking(&self, refused: Error) -> Error {
        match permissions::missing(self.trims, &self.connection, &self.stream).await {
            Ok(missing) if !missing.is_empty() => Error::MissingPermissions {
                operation: OPERATION,
                stream: self.stream.clone(),
                missing,
            },
            _ => refused,
        }
    }

    /// Sends an XADD, and once more where the connection had been closed; `asks`: for the length too, in the same write.
    async fn send(&self, command: Cmd, asks: bool) -> Result<Appended, Error> {
        match self.send_once(&command, asks).await {
            // The event may stand in the stream already: then it stands there twice, with the same ID of its own.
            Err(error) if error.is_closed() => self.send_once(&command, asks).await,
            result => result,
        }
    }

    async fn send_once(&self, command: &Cmd, asks: bool) -> Result<Appended, Error> {
        let (number, mut conn) = self.connection.open().await?;
        let stream = &self.stream;
        let failed = |source: redis::RedisError| Error::Stream {
            operation: OPERATION,
            stream: stream.clone(),
            source: source.into(),
        };
        let answer = if asks {
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

/// Whether the bus takes this event.
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

/// What the answers to XADD and, where it was sent, XLEN tell. A length that is not known is asked for again.
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
    Ok(Appended { id, length, doubt: None })
}

/// No holder of the lock panics; if one did, what is known of a length stays good enough.
fn locked(gate: &Mutex<Gate>) -> std::sync::MutexGuard<'_, Gate> {
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
