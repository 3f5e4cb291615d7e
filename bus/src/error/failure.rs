//! Failures of Redis and of the connection to it.

use std::error::Error;
use std::fmt;

use redis::{RedisError, ServerError};

/// Text before the part of a server's message that quotes the arguments, which may be a payload.
const QUOTE: &str = ", with args beginning with";

/// Parts of the texts with which a server or a host refuses one request for its size. Their code is `ERR`.
const TOO_LARGE: [&str; 4] = [
    "max request size exceeded",
    "Protocol error: invalid bulk length",
    "Protocol error: invalid multibulk length",
    "Elements are too large to be stored",
];

/// Failure of Redis or of the connection to it. Its texts never show what was sent.
#[derive(Clone)]
pub struct RedisFailure {
    error: RedisError,
    code: Option<String>,
}

/// Class of a failure, by Redis' code and, for `ERR`, which has many meanings, by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// No answer, or one from something between this client and Redis.
    Unanswered,
    /// The connection was closed.
    Closed,
    /// The server cannot execute commands now.
    Busy,
    /// The server is not the primary.
    NotPrimary,
    NoGroup,
    /// The key, the user or the keys of the command are wrong.
    ManualFix,
    /// The stream's last ID is the largest possible one, so that no command can add an entry.
    StreamExhausted,
    /// This request is too large for the server.
    TooLarge,
    /// An answer without a known meaning.
    Unknown,
}

impl RedisFailure {
    /// Returns Redis' error code, such as `OOM`, if Redis answered with an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Returns the class.
    pub(crate) fn class(&self) -> Class {
        match self.code() {
            None if self.is_closed() => Class::Closed,
            None => Class::Unanswered,
            Some(
                "LOADING" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS"
                | "OOM" | "MISCONF",
            ) => Class::Busy,
            Some("READONLY" | "UNBLOCKED" | "MOVED" | "ASK") => Class::NotPrimary,
            Some("NOGROUP") => Class::NoGroup,
            Some("WRONGTYPE" | "NOAUTH" | "WRONGPASS" | "NOPERM" | "CROSSSLOT") => Class::ManualFix,
            Some("ERR") => self.class_by_text(),
            // Redis' codes are in capitals; a proxy may answer with a plain sentence.
            Some(code) if code.bytes().any(|byte| byte.is_ascii_lowercase()) => Class::Unanswered,
            Some(_) => Class::Unknown,
        }
    }

    fn class_by_text(&self) -> Class {
        let detail = self.detail();
        let has = |text: &str| detail.contains(text);
        if self.is_full() {
            Class::Busy
        // WAIT on a replica.
        } else if has("with replica instances") {
            Class::NotPrimary
        } else if has("exhausted the last possible ID") {
            Class::StreamExhausted
        } else if TOO_LARGE.iter().any(|text| has(text)) {
            Class::TooLarge
        } else {
            Class::Unknown
        }
    }

    /// Returns the text of Redis' answer after its code.
    fn detail(&self) -> String {
        let first = first_answer(&self.error);
        let detail = first.as_ref().map_or(self.error.detail(), ServerError::details);
        detail.unwrap_or_default().to_owned()
    }

    /// Returns `true` if the server has reached its maximum number of clients, for which it has no code.
    pub(crate) fn is_full(&self) -> bool {
        self.code() == Some("ERR") && self.detail().contains("max number of clients")
    }

    /// Returns `true` if the server refused the entry ID 0-0, as every server does.
    pub(crate) fn is_refused_id(&self) -> bool {
        self.code() == Some("ERR") && self.detail().contains("0-0")
    }

    /// Returns the code, or the kind of connection failure.
    pub(crate) fn cause(&self) -> &str {
        match self.code() {
            _ if self.is_full() => "max clients",
            Some("ERR") if self.class() == Class::StreamExhausted => "exhausted",
            Some("ERR") if self.class() == Class::TooLarge => "too large",
            Some(code) => code,
            None if self.error.is_connection_refusal() => "refused",
            None if self.is_closed() => "closed",
            None if self.is_timeout() => "silent",
            None => "",
        }
    }

    /// Returns `true` if the other side closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.error.is_connection_dropped()
    }

    /// Returns `true` if there was no answer in time.
    pub(crate) fn is_timeout(&self) -> bool {
        self.error.is_timeout()
    }
}

/// Returns the answer of the first command of a pipeline that failed; for a transaction, of the command that aborted it.
fn first_answer(error: &RedisError) -> Option<ServerError> {
    error.clone().into_server_errors()?.first().map(|(_, error)| error.clone())
}

impl From<RedisError> for RedisFailure {
    fn from(error: RedisError) -> Self {
        let first = first_answer(&error);
        let code = first.as_ref().map(ServerError::code).or(error.code()).map(str::to_owned);
        Self { code, error }
    }
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.error.to_string();
        f.write_str(text.split_once(QUOTE).map_or(text.as_str(), |(before, _)| before))?;
        if self.class() == Class::StreamExhausted {
            f.write_str(" (its last ID is the largest possible one: use another stream)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisFailure({self})")
    }
}

impl Error for RedisFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The source of Redis' own error repeats its full text, with the quoted arguments.
        if self.code.is_some() { None } else { self.error.source() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> RedisFailure {
        let (code, detail) = line.split_once(' ').unwrap();
        redis::make_extension_error(code.to_owned(), Some(detail.to_owned())).into()
    }

    #[test]
    fn an_answer_is_classified_by_its_code_and_err_by_its_text() {
        let cases = [
            ("OOM command not allowed when used memory > 'maxmemory'.", Class::Busy),
            ("MISCONF Redis is configured to save RDB snapshots", Class::Busy),
            ("ERR max number of clients reached", Class::Busy),
            ("ERR WAIT cannot be used with replica instances.", Class::NotPrimary),
            ("ERR max request size exceeded. Limit: 1000000 bytes", Class::TooLarge),
            ("ERR Protocol error: invalid bulk length", Class::TooLarge),
            ("ERR Protocol error: invalid multibulk length", Class::TooLarge),
            ("ERR Protocol error: unauthenticated bulk length", Class::Unknown),
            ("ERR Elements are too large to be stored", Class::TooLarge),
            ("ERR The stream has exhausted the last possible ID, unable", Class::StreamExhausted),
            ("ERR unknown command 'XADD'", Class::Unknown),
            ("DENIED Redis is running in protected mode", Class::Unknown),
            ("upstream failure", Class::Unanswered),
        ];
        for (line, class) in cases {
            assert_eq!(refused(line).class(), class, "{line}");
        }
    }

    #[test]
    fn an_exhausted_stream_is_told_with_the_way_out_inside_a_script_too() {
        let text = "ERR The stream has exhausted the last possible ID, unable to add more items script: 5a, on @user_script:1.";
        let text = refused(text).to_string();
        assert!(text.ends_with("(its last ID is the largest possible one: use another stream)"));
    }

    #[test]
    fn what_was_sent_is_not_quoted() {
        let detail = "unknown command 'XADD', with args beginning with: 's' '*' 'type' 'secret' ";
        let error = redis::make_extension_error("ERR".to_owned(), Some(detail.to_owned()));
        let failure = RedisFailure::from(error);
        for text in [failure.to_string(), format!("{failure:?}")] {
            assert!(text.contains("unknown command 'XADD'"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
