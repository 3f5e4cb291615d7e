//! Errors of a monitor.

use eventbus_core::facts::ServerInfo;

use crate::error::Error;

/// Reason why there is no snapshot. Its text names no credentials; the causes are its sources.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// There is no connection, no answer in time, or an answer that none of the other reasons explains.
    #[error(transparent)]
    Unreachable(Error),
    /// The server is a replica, whose numbers may be old and which takes no writes.
    #[error("{endpoint} is a replica; the endpoint must name the primary")]
    Replica {
        /// `host:port/db`, never credentials.
        endpoint: String,
    },
    /// The user, the password, the permissions or a credential file is wrong.
    #[error(transparent)]
    AuthFailed(Error),
    /// The server is too old.
    #[error("{name} {version} at {endpoint} is too old: Redis 7.0 or Valkey 7.2 is needed")]
    UnsupportedServer {
        /// `host:port/db`, never credentials.
        endpoint: String,
        /// `redis` or `valkey`.
        name: String,
        /// Its version.
        version: String,
    },
    /// The key is not a stream.
    #[error(transparent)]
    WrongType(Error),
}

impl MonitorError {
    /// Classifies the error of an operation on the stream.
    pub(super) fn of(error: Error) -> Self {
        if error.is_wrong_type() {
            Self::WrongType(error)
        } else if error.is_auth() || matches!(error, Error::File { .. }) {
            Self::AuthFailed(error)
        } else {
            Self::Unreachable(error)
        }
    }

    /// Refuses a replica and a server that is too old; an unknown version is accepted.
    pub(super) fn check(server: &ServerInfo, endpoint: String) -> Result<(), Self> {
        if server.is_replica() {
            return Err(Self::Replica { endpoint });
        }
        if !server.is_supported() {
            let (name, version) = (server.name.clone(), server.version.clone());
            return Err(Self::UnsupportedServer { endpoint, name, version });
        }
        Ok(())
    }

    /// Returns `true` if the next try needs a new connection: to another server, or with other credentials.
    pub(super) fn needs_connection(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Replica { .. } | Self::AuthFailed(_))
    }

    /// Returns the cause, for a log that has each cause once.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Unreachable(error) | Self::AuthFailed(error) | Self::WrongType(error) => {
                error.cause()
            }
            Self::Replica { .. } | Self::UnsupportedServer { .. } => self.to_string(),
        }
    }

    /// Returns the error of the operation that failed; `None` if the server itself is refused.
    pub(super) fn operation(&self) -> Option<&Error> {
        match self {
            Self::Unreachable(error) | Self::AuthFailed(error) | Self::WrongType(error) => {
                Some(error)
            }
            Self::Replica { .. } | Self::UnsupportedServer { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::names::StreamKey;

    fn answered(code: &str) -> MonitorError {
        let source = redis::make_extension_error(code.to_owned(), None).into();
        let stream = StreamKey::new("s").unwrap();
        MonitorError::of(Error::Stream { operation: "read", stream, source })
    }

    #[test]
    fn an_answer_is_classified_by_its_code() {
        for code in ["NOAUTH", "WRONGPASS", "NOPERM"] {
            assert!(matches!(answered(code), MonitorError::AuthFailed(_)), "{code}");
        }
        assert!(matches!(answered("WRONGTYPE"), MonitorError::WrongType(_)));
        for code in ["LOADING", "ERR", "OOM"] {
            assert!(matches!(answered(code), MonitorError::Unreachable(_)), "{code}");
        }
    }

    #[test]
    fn replicas_and_servers_that_are_too_old_are_refused_and_unknown_ones_are_not() {
        let server = |role: &str, version: &str| ServerInfo {
            role: role.into(),
            version: version.into(),
            name: "redis".into(),
            ..ServerInfo::default()
        };
        let refusal = |server| MonitorError::check(&server, "h:1/0".into()).err();
        let text = |server| refusal(server).unwrap().to_string();
        assert_eq!(
            text(server("slave", "8.0.0")),
            "h:1/0 is a replica; the endpoint must name the primary"
        );
        assert_eq!(
            text(server("master", "6.2.14")),
            "redis 6.2.14 at h:1/0 is too old: Redis 7.0 or Valkey 7.2 is needed"
        );
        assert!(refusal(server("master", "7.0.0")).is_none());
        assert!(refusal(ServerInfo::default()).is_none());
    }
}
