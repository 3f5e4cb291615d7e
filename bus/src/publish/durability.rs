//! What has to have happened to an event before its publish is answered.

use std::num::NonZeroU8;
use std::time::Duration;

use redis::{Cmd, Value};

use super::PUBLISH_TIMEOUT;
use crate::config::{Lookup, SettingError};
use crate::connect::SharedConnection;
use crate::error::Error;

/// With `appendfsync everysec`, the server's default, an event is on disk after up to a second.
const FSYNCED: Duration = Duration::from_secs(5);

/// What has to have happened to an event before its publish is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// `async`: the server has it in memory. What becomes of it in a crash is up to the server's persistence, and its
    /// last second may be lost in a failover.
    #[default]
    Async,
    /// `replicated:N`: besides, N replicas have it in memory.
    Replicated(NonZeroU8),
    /// `fsynced`: it is on the server's disk. Needs WAITAOF (Redis or Valkey 7.2) and the append-only file; with
    /// `appendfsync everysec` a publish takes up to a second.
    Fsynced,
}

impl Durability {
    /// Reads `REDIS_DURABILITY`.
    ///
    /// # Errors
    /// [`SettingError`] with what is allowed.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Self, SettingError> {
        const NAME: &str = "REDIS_DURABILITY";
        let Some(text) = lookup(NAME) else { return Ok(Self::default()) };
        let replicas =
            || text.strip_prefix("replicated:").filter(|n| !n.starts_with('+'))?.parse().ok();
        match text.as_str() {
            "async" => Ok(Self::Async),
            "fsynced" => Ok(Self::Fsynced),
            _ => replicas().map(Self::Replicated).ok_or_else(|| {
                let allowed = "must be async, replicated:N with N from 1 to 255, or fsynced";
                SettingError::new(NAME, &text, allowed)
            }),
        }
    }

    /// A publish fails after this long, connecting included: [`PUBLISH_TIMEOUT`] for `async`, twice that for
    /// `replicated`, 5 s for `fsynced`.
    #[must_use]
    pub fn publish_timeout(self) -> Duration {
        match self {
            Self::Async => PUBLISH_TIMEOUT,
            Self::Replicated(_) => PUBLISH_TIMEOUT * 2,
            Self::Fsynced => FSYNCED,
        }
    }

    /// How many confirmations an event needs.
    pub(crate) fn wanted(self) -> u64 {
        match self {
            Self::Async => 0,
            Self::Replicated(replicas) => replicas.get().into(),
            Self::Fsynced => 1,
        }
    }

    /// Waits until all that its connection has written is confirmed; `None` where nothing is to be waited for.
    pub(crate) fn confirmation(self) -> Option<Cmd> {
        // Two fit into the time of a publish: the batch before, and its own. An idle server ends a wait up to 100 ms late.
        let wait = self.publish_timeout() * 3 / 10;
        match self {
            Self::Async => None,
            Self::Replicated(_) => Some(wait_for("WAIT", &[self.wanted()], wait)),
            Self::Fsynced => Some(wait_for("WAITAOF", &[self.wanted(), 0], wait)),
        }
    }

    /// The same for a connection that has written nothing, on which there is nothing to wait for.
    fn trial(self) -> Option<Cmd> {
        match self {
            Self::Replicated(_) => Some(wait_for("WAIT", &[0], Duration::from_millis(1))),
            _ => self.confirmation(),
        }
    }

    /// The confirmations that the answer to [`confirmation`](Self::confirmation) tells of.
    pub(crate) fn confirmed(self, answer: &Value) -> u64 {
        let count = match answer {
            Value::Array(counts) => counts.first(),
            count => Some(count),
        };
        match count {
            Some(Value::Int(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether the server can confirm at all, tried without writing anything.
    ///
    /// # Errors
    /// [`Error::CannotFsync`]; [`Error::Server`] where the user may not wait.
    pub(crate) async fn check(self, connection: &SharedConnection) -> Result<(), Error> {
        let endpoint = connection.endpoint();
        let (number, mut conn) = connection.open().await?;
        if self == Self::Fsynced {
            let known = redis::cmd("COMMAND").arg("INFO").arg("waitaof").to_owned();
            // A user who may not ask is told by the next command.
            if let Ok(Value::Array(commands)) = known.query_async(&mut conn).await
                && commands.iter().all(|command| *command == Value::Nil)
            {
                return Err(Error::CannotFsync { endpoint, source: None });
            }
        }
        let Some(trial) = self.trial() else { return Ok(()) };
        let answer: Result<Value, _> = trial.query_async(&mut conn).await;
        let answer = answer.map_err(|source| match source.code() {
            Some("ERR") if self == Self::Fsynced => {
                Error::CannotFsync { endpoint, source: Some(source.into()) }
            }
            _ => Error::Server {
                operation: "have events confirmed",
                endpoint,
                source: source.into(),
            },
        });
        connection.judge(number, answer).map(drop)
    }
}

fn wait_for(command: &str, confirmations: &[u64], limit: Duration) -> Cmd {
    let mut wait = redis::cmd(command);
    wait.arg(confirmations).arg(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    wait
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Durability, String> {
        Durability::from_lookup(&|_| Some(text.to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_setting_names_what_is_waited_for() {
        let replicated = |n| Durability::Replicated(NonZeroU8::new(n).unwrap());
        assert_eq!(Durability::from_lookup(&|_| None), Ok(Durability::Async));
        assert_eq!(read("async"), Ok(Durability::Async));
        assert_eq!(read("fsynced"), Ok(Durability::Fsynced));
        assert_eq!(
            [read("replicated:1"), read("replicated:255")],
            [1, 255].map(|n| Ok(replicated(n)))
        );
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        let allowed = "must be async, replicated:N with N from 1 to 255, or fsynced";
        for text in ["", "Async", "replicated", "replicated:0", "replicated:256", "replicated:+1"] {
            assert_eq!(read(text), Err(format!("REDIS_DURABILITY={text:?}: {allowed}")));
        }
    }

    #[test]
    fn two_waits_fit_into_the_time_of_a_publish() {
        let packed = |d: Durability| {
            String::from_utf8(d.confirmation().unwrap().get_packed_command()).unwrap()
        };
        let replicated = Durability::Replicated(NonZeroU8::new(2).unwrap());
        assert_eq!(packed(replicated), "*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$3\r\n150\r\n");
        let fsynced = "*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n0\r\n$4\r\n1500\r\n";
        assert_eq!(packed(Durability::Fsynced), fsynced);
    }
}
