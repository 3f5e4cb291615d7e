//! Failures of Redis and of the connection to it.

use std::error::Error;
use std::fmt;

use redis::RedisError;

/// Text before the part of a server's message that quotes the arguments, which may be a payload.
const QUOTE: &str = ", with args beginning with";

/// Failure of Redis or of the connection to it. Its texts never show what was sent.
#[derive(Clone)]
pub struct RedisFailure {
    error: RedisError,
    code: Option<String>,
}

impl RedisFailure {
    /// Returns Redis' error code, such as `OOM`, if Redis answered with an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Returns `true` if the server has reached its maximum number of clients, for which it has no code.
    pub(crate) fn is_full(&self) -> bool {
        let detail = self.error.detail().unwrap_or_default();
        self.code() == Some("ERR") && detail.contains("max number of clients")
    }

    /// Returns the code, or the kind of connection failure.
    pub(crate) fn cause(&self) -> &str {
        match self.code() {
            _ if self.is_full() => "max clients",
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

impl From<RedisError> for RedisFailure {
    fn from(error: RedisError) -> Self {
        // Of a pipeline, the first command that failed.
        let first =
            || error.clone().into_server_errors()?.first().map(|(_, e)| e.code().to_owned());
        let code = error.code().map(str::to_owned).or_else(first);
        Self { error, code }
    }
}

impl fmt::Display for RedisFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.error.to_string();
        f.write_str(text.split_once(QUOTE).map_or(text.as_str(), |(before, _)| before))
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
