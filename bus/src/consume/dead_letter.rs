//! Dead letters: storing one, or dropping the event where none are kept.

use std::sync::LazyLock;

use crate::redis::Connection;
use jiff::Timestamp;

use crate::error::{Error, chain};
use eventbus_core::delivery::{Burial, Settled, Source};

use super::commands::{Consumer, Operation};
use super::{DeadLetters, reply};

static BURY: LazyLock<Operation> =
    LazyLock::new(|| Operation::new("store a dead letter", include_str!("../scripts/bury.lua")));

impl Consumer {
    /// [`Settled::Refused`] where the server would not write the dead letter; the entry is pending as before.
    pub async fn bury(
        &self,
        conn: Connection,
        burial: &Burial,
        now: Timestamp,
    ) -> Result<Settled, Error> {
        let Some(kept) = &self.config.dead_letters else {
            return self.drop_event(conn, burial).await;
        };
        let args = self.burial_args(kept, burial, now);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let keys = [self.key(burial.entry.source), kept.stream.as_str()];
        let answer = match self.call(&BURY, conn, &keys, &args).await {
            Err(error) if burial.entry.source == Source::DeadLetters && error.is_no_group() => {
                return Ok(Settled::NotMine);
            }
            answer => answer,
        };
        match answer {
            Ok(answer) => reply::settled(&answer).ok_or_else(|| self.odd(BURY.name, "answer")),
            Err(error) if matches!(error.code(), Some("OOM" | "WRONGTYPE" | "NOPERM" | "ERR")) => {
                tracing::error!(stream = %self.config.stream, group = %self.config.group,
                    entry = %burial.entry.id, dead_letters = %kept.stream,
                    error = %chain(&error), "a dead letter was refused; it waits");
                Ok(Settled::Refused)
            }
            Err(error) => Err(error),
        }
    }

    /// Acknowledges what nobody will handle, and says so.
    async fn drop_event(&self, conn: Connection, burial: &Burial) -> Result<Settled, Error> {
        if self.acknowledge_checked(conn, &[burial.entry]).await? == 0 {
            return Ok(Settled::NotMine);
        }
        tracing::error!(stream = %self.config.stream, group = %self.config.group,
            entry = %burial.entry.id, attempts = burial.attempts, reason = burial.reason,
            "an event is dropped, because this group keeps no dead letters");
        Ok(Settled::Done)
    }

    fn burial_args(&self, kept: &DeadLetters, burial: &Burial, now: Timestamp) -> Vec<String> {
        let id = burial.entry.id;
        let first = eventbus_core::event::time_of(id);
        let mut args = vec![self.config.group.to_string(), self.me.to_string()];
        args.push(id.to_string());
        args.push(kept.max_length.to_string());
        let why = [
            ("dlq.id", id.to_string()),
            ("dlq.group", self.config.group.to_string()),
            ("dlq.reason", burial.reason.to_owned()),
            ("dlq.error", burial.error.clone()),
            ("dlq.attempts", burial.attempts.to_string()),
            ("dlq.first", first.to_string()),
            ("dlq.last", now.to_string()),
            ("dlq.consumer", self.me.to_string()),
        ];
        args.extend(why.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        args
    }
}
