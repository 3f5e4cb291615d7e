//! What can go wrong between this library and Redis, and what to do about it.

mod failure;

use std::path::PathBuf;

use eventbus_core::declaration::{DeclarationError, Owner};
use eventbus_core::names::{EntryId, GroupName, StreamKey};
use eventbus_core::settings::SettingErrors;

use crate::config::RedisConfig;

pub use failure::RedisFailure;

/// A failed operation: what was tried, on what, and why it failed (its `source`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file with a user name, password, certificate or key cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Redis is known to be away; nothing was tried. One operation a second is let through to see whether it is back.
    #[error("Redis at {endpoint} is away: the circuit breaker is open")]
    BreakerOpen {
        /// `host:port/db`, never credentials.
        endpoint: String,
    },
    /// No connection: refused, timed out, wrong credentials, wrong certificate, …
    #[error("cannot connect to Redis at {endpoint}")]
    Connect {
        /// `host:port/db`, never credentials.
        endpoint: String,
        /// The cause.
        #[source]
        source: RedisFailure,
    },
    /// A command on the whole server failed.
    #[error("cannot {operation} at {endpoint}")]
    Server {
        /// A verb and its object, such as `ping Redis`.
        operation: &'static str,
        /// `host:port/db`, never credentials.
        endpoint: String,
        /// The cause.
        #[source]
        source: RedisFailure,
    },
    /// A command on a stream failed.
    #[error("cannot {operation} on stream {stream}")]
    Stream {
        /// A verb and its object, such as `publish an event`.
        operation: &'static str,
        /// The stream.
        stream: StreamKey,
        /// The cause.
        #[source]
        source: RedisFailure,
    },
    /// A command on a consumer group failed.
    #[error("cannot {operation} in group {group} on stream {stream}")]
    Group {
        /// A verb and its object, such as `read events`.
        operation: &'static str,
        /// The stream.
        stream: StreamKey,
        /// The group.
        group: GroupName,
        /// The cause.
        #[source]
        source: RedisFailure,
    },
    /// The server answered in a form that this version does not know.
    #[error("cannot {operation} on stream {stream}: the server's reply has no {missing}")]
    Reply {
        /// A verb and its object.
        operation: &'static str,
        /// The stream.
        stream: StreamKey,
        /// Part of the reply that is missing or malformed.
        missing: &'static str,
    },
    /// An event's type is none that a group could ask for.
    #[error(
        "event type {event_type:?} must have 1 to 128 of letters, digits, '_', '-', in parts joined by single dots"
    )]
    EventType {
        /// The type, or how it begins.
        event_type: String,
    },
    /// A payload cannot be written as JSON.
    #[error("cannot write the payload of an event of type {event_type} as JSON")]
    Encode {
        /// The event's type.
        event_type: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// An event's payload is larger than the publish limit.
    #[error("the payload of an event of type {event_type} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The event's type.
        event_type: String,
        /// Bytes.
        size: usize,
        /// Bytes.
        limit: usize,
    },
    /// An event's fields together are larger than a record of the outbox.
    #[error("the fields of an event of type {event_type} have {size} bytes, the limit is {limit}")]
    RecordTooLarge {
        /// The event's type.
        event_type: String,
        /// Bytes.
        size: usize,
        /// Bytes.
        limit: usize,
    },
    /// The stream is at its hard cap, trimming does not help, and publishers are to be refused.
    #[error("stream {stream} is full: it has {length} entries, the hard cap is {cap}")]
    StreamFull {
        /// The stream.
        stream: StreamKey,
        /// Entries, when it was last asked.
        length: u64,
        /// `REDIS_HARD_MAX_ENTRIES`.
        cap: u64,
    },
    /// An event stands in the stream, but fewer than asked for confirmed in time that they have it: it may be lost in a
    /// crash or a failover.
    #[error("entry {id} stands in stream {stream}, with {got} of {wanted} confirmations")]
    NotDurable {
        /// The stream.
        stream: StreamKey,
        /// The event's entry.
        id: EntryId,
        /// Confirmations that it needed: of replicas, or 1 of the server's disk.
        wanted: u64,
        /// Confirmations that came in time.
        got: u64,
        /// Redis' refusal to wait; `None` if it waited and got too few confirmations.
        #[source]
        source: Option<RedisFailure>,
    },
    /// The server cannot tell when an event is on its disk.
    #[error(
        "the server at {endpoint} cannot confirm that events are on disk: it needs WAITAOF (Redis or Valkey 7.2) and its append-only file switched on"
    )]
    CannotFsync {
        /// `host:port/db`, never credentials.
        endpoint: String,
        /// Answer of the server; `None` if it does not know WAITAOF.
        #[source]
        source: Option<RedisFailure>,
    },
    /// The user's rights do not allow what the settings ask for.
    #[error("the user may not {operation} on stream {stream}: it lacks {}", missing.join(", "))]
    MissingPermissions {
        /// A verb and its object.
        operation: &'static str,
        /// The stream.
        stream: StreamKey,
        /// The commands, with their keys where these are not the stream.
        missing: Vec<&'static str>,
    },
    /// Redis did not answer within the operation's own limit; it may have carried the command out.
    #[error("cannot {operation} on stream {stream}: no answer within {limit:?}")]
    TimedOut {
        /// A verb and its object.
        operation: &'static str,
        /// The stream.
        stream: StreamKey,
        /// The limit.
        limit: std::time::Duration,
    },
    /// Settings that make no sense, all of them.
    #[error(transparent)]
    Settings(#[from] SettingErrors),
    /// The consumer did not come to rest within its grace: entries stay pending and are taken over by others.
    #[error(
        "group {group} on stream {stream} was not left within {grace:?}: Redis was away, or too slow"
    )]
    ShutdownTimedOut {
        /// The stream.
        stream: StreamKey,
        /// The group.
        group: GroupName,
        /// The grace that was given.
        grace: std::time::Duration,
    },
    /// The outbox's directory is in use.
    #[error(
        "the outbox {} is in use by another process: each process needs a directory of its own",
        dir.display()
    )]
    OutboxTaken {
        /// `REDIS_OUTBOX_DIR`.
        dir: PathBuf,
    },
    /// A file of the outbox cannot be used.
    #[error("cannot {operation} {} of the outbox", path.display())]
    OutboxFile {
        /// A verb, such as `read`.
        operation: &'static str,
        /// The file or the directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A segment of the outbox was not written by this version, for this stream, or in this place.
    #[error(
        "{} of the outbox is of {found}, not of {expected}: start what wrote it there until it has sent its events, or move the file away",
        path.display()
    )]
    OutboxForeign {
        /// The file.
        path: PathBuf,
        /// Such as `stream orders`.
        found: String,
        /// Such as `stream stream:events`.
        expected: String,
    },
    /// An event was not kept, the outbox is at its cap, and publishing it failed.
    #[error(
        "the event was not kept, the outbox {} has reached its {cap} bytes, and publishing it failed",
        dir.display()
    )]
    OutboxFull {
        /// `REDIS_OUTBOX_DIR`.
        dir: PathBuf,
        /// `REDIS_OUTBOX_MAX_BYTES`.
        cap: u64,
        /// Cause of the failed publish.
        #[source]
        source: Box<Error>,
    },
    /// An event was not kept, the outbox cannot be written, and publishing it failed.
    #[error(
        "the event was not kept, the outbox {} cannot be written ({cause}), and publishing it failed",
        dir.display()
    )]
    OutboxWrite {
        /// `REDIS_OUTBOX_DIR`.
        dir: PathBuf,
        /// Cause of the failed write.
        cause: std::sync::Arc<std::io::Error>,
        /// Cause of the failed publish.
        #[source]
        source: Box<Error>,
    },
    /// A command on a key beside a stream failed.
    #[error("cannot {operation} in {key}")]
    Key {
        /// A verb and its object, such as `read the declaration of a group`.
        operation: &'static str,
        /// The key.
        key: String,
        /// The cause.
        #[source]
        source: RedisFailure,
    },
    /// The declaration of a group in `P:eventbus:groups` cannot be read.
    #[error("field {group} of {key} does not declare a group")]
    Declaration {
        /// The hash.
        key: String,
        /// Its field.
        group: GroupName,
        /// Mistake in the declaration.
        #[source]
        source: DeclarationError,
    },
    /// The declaration of a group is somebody else's to remove.
    #[error(
        "group {group} on stream {stream} is declared by the EventConsumerGroup {owner}: delete that resource instead"
    )]
    OwnedByResource {
        /// The stream.
        stream: StreamKey,
        /// The group.
        group: GroupName,
        /// Whose it is.
        owner: Box<Owner>,
    },
}

/// Action that helps against an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// The same command again after a backoff, on the same or on a new connection.
    Retry,
    /// A new connection first: the server is no primary any more, or ended the wait.
    Reconnect,
    /// The group or the stream has to be created first.
    CreateGroup,
    /// Someone has to change something: a type, a right, a password.
    ManualFix,
}

impl Error {
    /// Returns the action that helps, by Redis' error code. Errors that are none of Redis' need a manual fix.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::TimedOut { .. } | Self::StreamFull { .. } | Self::BreakerOpen { .. } => {
                Remedy::Retry
            }
            Self::NotDurable { source: None, .. } => Remedy::Retry,
            Self::CannotFsync { .. } => Remedy::ManualFix,
            Self::OutboxFull { source, .. } | Self::OutboxWrite { source, .. } => source.remedy(),
            _ => self.redis().map_or(Remedy::ManualFix, remedy),
        }
    }

    /// Returns `true` if the same call may succeed later without a change by anybody.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.remedy(), Remedy::Retry | Remedy::Reconnect)
    }

    /// Returns `true` if the group or the stream is missing.
    #[must_use]
    pub fn is_no_group(&self) -> bool {
        self.remedy() == Remedy::CreateGroup
    }

    /// Returns `true` if a key has another type than it should: as a rule, the stream's key is not a stream.
    #[must_use]
    pub fn is_wrong_type(&self) -> bool {
        self.code() == Some("WRONGTYPE")
    }

    /// Returns `true` if the user name, password or permissions are at fault.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        matches!(self.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
    }

    /// Redis' own code, such as `OOM`, where Redis answered with an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            // To each of the commands that are missing.
            Self::MissingPermissions { .. } => Some("NOPERM"),
            _ => self.redis().and_then(RedisFailure::code),
        }
    }

    /// A short fixed word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Connect { .. } => "connect",
            Self::Server { .. } => "server",
            Self::Stream { .. } => "stream",
            Self::Group { .. } => "group",
            Self::Reply { .. } => "reply",
            Self::EventType { .. } => "event_type",
            Self::StreamFull { .. } => "stream_full",
            Self::NotDurable { .. } => "not_durable",
            Self::CannotFsync { .. } => "cannot_fsync",
            Self::MissingPermissions { .. } => "missing_permissions",
            Self::Encode { .. } => "encode",
            Self::TooLarge { .. } | Self::RecordTooLarge { .. } => "too_large",
            Self::TimedOut { .. } => "timed_out",
            Self::Settings(_) => "settings",
            Self::ShutdownTimedOut { .. } => "shutdown_timed_out",
            Self::Key { .. } => "key",
            Self::Declaration { .. } => "declaration",
            Self::OwnedByResource { .. } => "owned_by_resource",
            Self::OutboxTaken { .. } => "outbox_taken",
            Self::OutboxFile { .. } => "outbox_file",
            Self::OutboxForeign { .. } => "outbox_foreign",
            Self::OutboxFull { .. } => "outbox_full",
            Self::OutboxWrite { .. } => "outbox_write",
        }
    }

    /// What is wrong, for a log that says each cause once: label and code, or how there was no answer.
    pub(crate) fn cause(&self) -> String {
        let detail = self.redis().map_or("", RedisFailure::cause);
        format!("{} {detail}", self.label())
    }

    /// A refusal of an event's type, of which no more is shown than a type may have.
    pub(crate) fn event_type(event_type: &str) -> Self {
        Self::EventType { event_type: event_type.chars().take(129).collect() }
    }

    /// Whether the server has no connection left.
    pub(crate) fn is_full(&self) -> bool {
        self.redis().is_some_and(RedisFailure::is_full)
    }

    /// Whether there was no connection, or none that answered.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.redis().is_some_and(|failure| failure.code().is_none())
    }

    /// Whether the connection was closed, maybe long before: the same command may succeed on a new one at once. Not
    /// where there is none to be had.
    pub(crate) fn is_closed(&self) -> bool {
        !matches!(self, Self::Connect { .. }) && self.redis().is_some_and(RedisFailure::is_closed)
    }

    /// Why there is no connection, told once more.
    pub(crate) fn again(&self, redis: &RedisConfig) -> Self {
        match self {
            Self::File { path, source } => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                Self::File { path: path.clone(), source }
            }
            Self::Connect { endpoint, source } => {
                Self::Connect { endpoint: endpoint.clone(), source: source.clone() }
            }
            _ => Self::BreakerOpen { endpoint: redis.endpoint() },
        }
    }

    fn redis(&self) -> Option<&RedisFailure> {
        match self {
            Self::Connect { source, .. }
            | Self::Server { source, .. }
            | Self::Stream { source, .. }
            | Self::Group { source, .. }
            | Self::Key { source, .. } => Some(source),
            Self::NotDurable { source, .. } | Self::CannotFsync { source, .. } => source.as_ref(),
            _ => None,
        }
    }
}

/// The error and its causes in one line, each told once: for logs, conditions and answers to people.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

pub(crate) fn remedy(error: &RedisFailure) -> Remedy {
    match error.code() {
        Some("READONLY" | "UNBLOCKED" | "MOVED" | "ASK") => Remedy::Reconnect,
        Some("NOGROUP") => Remedy::CreateGroup,
        Some("WRONGTYPE" | "NOAUTH" | "WRONGPASS" | "NOPERM" | "CROSSSLOT") => Remedy::ManualFix,
        // `ERR` too: "max number of clients reached" has no code of its own.
        _ => Remedy::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: &str) -> Error {
        let source = redis::make_extension_error(code.to_owned(), Some("why".to_owned())).into();
        Error::Stream { operation: "read", stream: StreamKey::new("s").unwrap(), source }
    }

    #[test]
    fn the_remedy_follows_the_code_of_the_server() {
        let cases = [
            ("OOM", Remedy::Retry),
            ("LOADING", Remedy::Retry),
            ("ERR", Remedy::Retry),
            ("READONLY", Remedy::Reconnect),
            ("UNBLOCKED", Remedy::Reconnect),
            ("NOGROUP", Remedy::CreateGroup),
            ("WRONGTYPE", Remedy::ManualFix),
            ("NOPERM", Remedy::ManualFix),
        ];
        for (code, remedy) in cases {
            assert_eq!(answered(code).remedy(), remedy, "{code}");
        }
    }

    #[test]
    fn a_chain_tells_the_operation_its_subject_and_the_cause_once() {
        assert_eq!(chain(&answered("OOM")), "cannot read on stream s: \"OOM\": why");
    }
}
