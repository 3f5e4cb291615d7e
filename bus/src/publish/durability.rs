//! Waiting until an event is as safe as its publisher asked for.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::config::Durability;
use crate::error::Error;
use crate::redis::SharedConnection;

impl Durability {
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
