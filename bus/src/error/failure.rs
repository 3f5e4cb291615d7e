//! What Redis, or the way to it, answered instead of a reply.

use std::error::Error;
use std::fmt;

use redis::RedisError;

/// Before the part of a server's message that quotes what was sent to it, a payload for example.
const QUOTE: &str = ", with args beginning with";

/// A failure of Redis, or of the way to it. No text of it shows what was sent.
#[derive(Clone)]
pub struct RedisFailure {
    error: RedisError,
    code: Option<String>,
}

impl RedisFailure {
    /// Redis' own code, such as `OOM`, where Redis answered with an error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Whether the server has no connection left, for which it has no code.
    pub(crate) fn is_full(&self) -> bool {
        let told = self.error.detail().unwrap_or_default();
        self.code() == Some("ERR") && told.contains("max number of clients")
    }

    /// The code, or what there was instead of an answer.
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

    /// Whether the connection was closed by the other side.
    pub(crate) fn is_closed(&self) -> bool {
        self.error.is_connection_dropped()
    }

    /// Whether there was no answer in time.
    pub(crate) fn is_timeout(&self) -> bool {
        self.error.is_timeout()
    }
}

impl From<RedisError> for RedisFailure {
    fn from(error: RedisError) -> Self {
        // Of several commands in one write, the first that failed tells.
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
        // Redis' own answer comes again as the cause, in its full text.
        if self.code.is_some() { None } else { self.error.source() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_not_quoted() {
        let told = "unknown command 'XADD', with args beginning with: 's' '*' 'type' 'secret' ";
        let error = redis::make_extension_error("ERR".to_owned(), Some(told.to_owned()));
        let failure = RedisFailure::from(error);
        for text in [failure.to_string(), format!("{failure:?}")] {
            assert!(text.contains("unknown command 'XADD'"), "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
