//! Commands and replies of waiting for confirmations.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::config::Durability;
use crate::error::Error;
use crate::redis::SharedConnection;

impl Durability {
    /// Returns the number of confirmations that an event needs.
    pub(crate) fn required(self) -> u64 {
        match self {
            Self::Async => 0,
            Self::Replicated(replicas) => replicas.get().into(),
            Self::Fsynced => 1,
        }
    }

    /// Returns the command that waits until everything written on its connection is confirmed; `None` for `async`.
    pub(crate) fn confirmation(self) -> Option<Cmd> {
        // A publish may wait for the previous batch and for its own. An idle server ends a wait up to 100 ms late.
        let wait = self.publish_timeout() * 3 / 10;
        match self {
            Self::Async => None,
            Self::Replicated(_) => Some(wait_for("WAIT", &[self.required()], wait)),
            Self::Fsynced => Some(wait_for("WAITAOF", &[self.required(), 0], wait)),
        }
    }

    /// Returns the same command in a form that returns at once on a connection without writes.
    fn trial(self) -> Option<Cmd> {
        match self {
            Self::Replicated(_) => Some(wait_for("WAIT", &[0], Duration::from_millis(1))),
            _ => self.confirmation(),
        }
    }

    /// Decodes the number of confirmations in the reply to [`confirmation`](Self::confirmation).
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

    /// Checks that the server can confirm events, without writing anything.
    ///
    /// # Errors
    /// [`Error::CannotFsync`]; [`Error::Server`] without permission to wait.
    pub(crate) async fn check(self, connection: &SharedConnection) -> Result<(), Error> {
        let endpoint = connection.endpoint();
        let (number, mut conn) = connection.open().await?;
        if self == Self::Fsynced {
            let known = redis::cmd("COMMAND").arg("INFO").arg("waitaof").to_owned();
            // Without permission for COMMAND, the next command shows it.
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
                operation: "wait for confirmations",
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
