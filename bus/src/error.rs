//! Errors of this library, and what helps against each.

mod failure;
mod remedy;
pub(crate) mod tls;

use std::path::PathBuf;

use eventbus_core::declaration::{DeclarationError, Owner};
use eventbus_core::names::{EntryId, GroupName, StreamKey};
use eventbus_core::settings::SettingErrors;

use crate::config::RedisConfig;

pub use failure::RedisFailure;
pub use remedy::Remedy;

pub(crate) use failure::Class;

/// Failed operation: its name, its subject, and its cause (`source`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Cannot read a file with a user name, password, certificate or key.
    #[error("cannot read {} ({setting})", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Setting that names it, such as `REDIS_CA_FILE`.
        setting: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Redis is unreachable: the last calls got no answer, so this one was refused without a try. Once a second one call
    /// passes as a probe.
    #[error("Redis at {endpoint} is unreachable: the circuit breaker is open")]
    BreakerOpen {
        /// `host:port/db`, never credentials.
        endpoint: String,
    },
    /// Cannot connect: refused, timed out, wrong credentials, wrong certificate, …
    #[error("cannot connect to Redis at {endpoint}")]
    Connect {
        /// `host:port/db`, never credentials.
        endpoint: String,
        /// The cause.
        #[source]
        source: RedisFailure,
    },
    /// Failed command that concerns the whole server.
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
    /// Failed command on a stream.
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
    /// Failed command on a consumer group.
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
    /// Malformed reply: the server answered in a form that this version does not know.
    #[error("cannot {operation} on stream {stream}: the server's reply has no {missing}")]
    Reply {
        /// A verb and its object.
        operation: &'static str,
        /// The stream.
        stream: StreamKey,
        /// Part of the reply that is missing or malformed.
        missing: &'static str,
    },
    /// Malformed event type.
    #[error(
        "event type {event_type:?} must have 1 to 128 of letters, digits, '_', '-', in parts joined by single dots"
    )]
    EventType {
        /// The type, or its first 129 characters.
        event_type: String,
    },
    /// Cannot write a payload as JSON.
    #[error("cannot write the payload of an event of type {event_type} as JSON")]
    Encode {
        /// The event's type.
        event_type: String,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// Payload larger than the publish limit.
    #[error("the payload of an event of type {event_type} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The event's type.
        event_type: String,
        /// Bytes.
        size: usize,
        /// Bytes.
        limit: usize,
    },
    /// Event whose fields together are larger than a record of the outbox may be.
    #[error("the fields of an event of type {event_type} have {size} bytes, the limit is {limit}")]
    RecordTooLarge {
        /// The event's type.
        event_type: String,
        /// Bytes.
        size: usize,
        /// Bytes.
        limit: usize,
    },
    /// Event refused because the stream is at its hard cap, trimming removed nothing, and the overflow policy is `reject`.
    #[error("stream {stream} is full: it has {length} entries, the hard cap is {cap}")]
    StreamFull {
        /// The stream.
        stream: StreamKey,
        /// Entries when the length was last read.
        length: u64,
        /// `REDIS_HARD_MAX_ENTRIES`.
        cap: u64,
    },
    /// Event that is in the stream, but with fewer confirmations than required: a crash or failover may lose it.
    #[error("entry {id} is in stream {stream}, but got only {got} of {required} confirmations")]
    NotDurable {
        /// The stream.
        stream: StreamKey,
        /// The event's entry.
        id: EntryId,
        /// Required confirmations: the number of replicas, or 1 for the server's disk.
        required: u64,
        /// Confirmations that arrived in time.
        got: u64,
        /// Error of the server; `None` if the wait timed out.
        #[source]
        source: Option<RedisFailure>,
    },
    /// Server that cannot confirm that an event is on its disk.
    #[error(
        "the server at {endpoint} cannot confirm that events are on disk: it needs WAITAOF (Redis or Valkey 7.2) and its append-only file switched on"
    )]
    CannotFsync {
        /// `host:port/db`, never credentials.
        endpoint: String,
        /// Error of the server; `None` if it has no WAITAOF.
        #[source]
        source: Option<RedisFailure>,
    },
    /// Redis user without the permissions that the settings need.
    #[error("cannot {operation} on stream {stream}: the Redis user has no permission for {}", missing.join(", "))]
    MissingPermissions {
        /// A verb and its object.
        operation: &'static str,
        /// The stream.
        stream: StreamKey,
        /// The commands without permission, with their keys where these are not the stream.
        missing: Vec<&'static str>,
    },
    /// No answer within the operation's limit; Redis may have executed the command.
    #[error("cannot {operation} on stream {stream}: no answer within {limit:?}")]
    TimedOut {
        /// A verb and its object.
        operation: &'static str,
        /// The stream.
        stream: StreamKey,
        /// The limit.
        limit: std::time::Duration,
    },
    /// Every invalid setting.
    #[error(transparent)]
    Settings(#[from] SettingErrors),
    /// Consumer that did not shut down within its grace period: its entries stay pending and other consumers claim them.
    #[error(
        "cannot leave group {group} on stream {stream} within {grace:?}: Redis is unreachable or too slow"
    )]
    ShutdownTimedOut {
        /// The stream.
        stream: StreamKey,
        /// The group.
        group: GroupName,
        /// The grace period.
        grace: std::time::Duration,
    },
    /// Outbox directory that another process uses.
    #[error(
        "the outbox {} is in use by another process: each process needs a directory of its own",
        dir.display()
    )]
    OutboxTaken {
        /// `REDIS_OUTBOX_DIR`.
        dir: PathBuf,
    },
    /// Failed operation on a file of the outbox.
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
    /// Outbox segment of another version, another stream or another position.
    #[error(
        "outbox file {} belongs to {found}, not to {expected}: run the program that wrote it until its events are sent, or move the file",
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
    /// Event that was neither stored, because the outbox is at its cap, nor published.
    #[error(
        "the event was not stored, because the outbox {} is full ({cap} bytes), and could not be published",
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
    /// Event that was neither stored, because the outbox cannot be written, nor published.
    #[error(
        "the event was not stored, because the outbox {} cannot be written ({cause}), and could not be published",
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
    /// Failed command on a key beside a stream.
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
    /// Malformed declaration of a group in `P:eventbus:groups`.
    #[error("field {group} of {key} does not declare a group")]
    Declaration {
        /// The hash.
        key: String,
        /// Its field.
        group: GroupName,
        /// Part of the declaration that is malformed.
        #[source]
        source: DeclarationError,
    },
    /// Declaration that only its resource may remove.
    #[error(
        "group {group} on stream {stream} is declared by the EventConsumerGroup {owner}: delete that resource instead"
    )]
    OwnedByResource {
        /// The stream.
        stream: StreamKey,
        /// The group.
        group: GroupName,
        /// The resource.
        owner: Box<Owner>,
    },
}

impl Error {
    /// Returns the remedy, by Redis' error code and, for `ERR`, its text. An answer that is not known needs a manual fix, as
    /// do errors that are not from Redis unless they are a time-out, a full stream or an open breaker.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::TimedOut { .. } | Self::StreamFull { .. } | Self::BreakerOpen { .. } => {
                Remedy::Retry
            }
            Self::NotDurable { source: None, .. } => Remedy::Retry,
            Self::CannotFsync { .. } => Remedy::ManualFix,
            Self::OutboxFull { source, .. } | Self::OutboxWrite { source, .. } => source.remedy(),
            _ => self.redis().map_or(Remedy::ManualFix, |failure| Remedy::of(failure.class())),
        }
    }

    /// Returns `true` if the same call may succeed later without a manual fix.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.remedy(), Remedy::Retry | Remedy::Reconnect)
    }

    /// Returns `true` if the group or the stream is missing.
    #[must_use]
    pub fn is_no_group(&self) -> bool {
        self.remedy() == Remedy::CreateGroup
    }

    /// Returns `true` if a key has the wrong type: usually, the stream's key holds something else.
    #[must_use]
    pub fn is_wrong_type(&self) -> bool {
        self.code() == Some("WRONGTYPE")
    }

    /// Returns `true` if user, password or permissions are wrong.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        matches!(self.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
    }

    /// Returns Redis' error code, such as `OOM`, if Redis answered with an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            // Redis answers it to each of these commands.
            Self::MissingPermissions { .. } => Some("NOPERM"),
            _ => self.redis().and_then(RedisFailure::code),
        }
    }

    /// Returns a short fixed word for metrics.
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

    /// Returns the key for a log throttle: the label, and the code or the kind of connection failure.
    pub(crate) fn cause(&self) -> String {
        let detail = self.redis().map_or("", RedisFailure::cause);
        format!("{} {detail}", self.label())
    }

    /// Returns the error for a malformed event type; a long one is cut to 129 characters.
    pub(crate) fn event_type(event_type: &str) -> Self {
        Self::EventType { event_type: event_type.chars().take(129).collect() }
    }

    /// Returns `true` if the server has reached its maximum number of clients.
    pub(crate) fn is_full(&self) -> bool {
        self.redis().is_some_and(RedisFailure::is_full)
    }

    /// Returns `true` if there was no connection, or no answer on it.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.redis().is_some_and(|failure| failure.code().is_none())
    }

    /// Returns `true` if the connection was closed, perhaps long before the call: the same command may succeed at once on
    /// a new connection. `false` for a failed connect.
    pub(crate) fn is_closed(&self) -> bool {
        !matches!(self, Self::Connect { .. }) && self.redis().is_some_and(RedisFailure::is_closed)
    }

    /// Copies an error of connecting, for another caller; any other error becomes [`Error::BreakerOpen`].
    pub(crate) fn clone_of_connect(&self, redis: &RedisConfig) -> Self {
        match self {
            Self::File { path, setting, source } => {
                let source = std::io::Error::new(source.kind(), source.to_string());
                Self::File { path: path.clone(), setting, source }
            }
            Self::Connect { endpoint, source } => {
                Self::Connect { endpoint: endpoint.clone(), source: source.clone() }
            }
            _ => Self::BreakerOpen { endpoint: redis.endpoint() },
        }
    }

    /// Returns `true` if the server refused the entry ID 0-0, as every server does.
    pub(crate) fn is_refused_id(&self) -> bool {
        self.redis().is_some_and(RedisFailure::is_refused_id)
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

/// Formats the error and its causes in one line, without repetition: for logs, conditions and HTTP answers. An error of TLS
/// is told as a sentence.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let message = |error: &dyn std::error::Error| {
        let text = error.to_string();
        tls::explained(&text).unwrap_or(text)
    };
    let mut text = message(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = message(error);
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
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
            ("ERR", Remedy::ManualFix),
            ("A-NEW-CODE", Remedy::ManualFix),
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
    fn a_chain_names_the_operation_its_subject_and_the_cause_once() {
        assert_eq!(chain(&answered("OOM")), "cannot read on stream s: \"OOM\": why");
    }
}
