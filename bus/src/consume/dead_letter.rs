//! Dead letters: storing one, or dropping the event where none are kept.

use std::sync::LazyLock;

use crate::redis::Connection;
use jiff::Timestamp;

use crate::error::{Error, chain};
use eventbus_core::delivery::{DeadLetter, Source, WriteResult};

use super::commands::{Consumer, Operation};
use super::{DeadLetters, reply};

static DEAD_LETTER: LazyLock<Operation> = LazyLock::new(|| {
    Operation::new("store a dead letter", include_str!("../scripts/dead_letter.lua"))
});

impl Consumer {
    /// [`Settled::Refused`] where the server would not write the dead letter; the entry is pending as before.
    pub async fn dead_letter(
        &self,
        conn: Connection,
        letter: &DeadLetter,
        now: Timestamp,
    ) -> Result<WriteResult, Error> {
        let Some(kept) = &self.config.dead_letters else {
            return self.drop_event(conn, letter).await;
        };
        let args = self.dead_letter_args(kept, letter, now);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let keys = [self.key(letter.entry.source), kept.stream.as_str()];
        let answer = match self.call(&DEAD_LETTER, conn, &keys, &args).await {
            Err(error) if letter.entry.source == Source::DeadLetters && error.is_no_group() => {
                return Ok(WriteResult::NotMine);
            }
            answer => answer,
        };
        match answer {
            Ok(answer) => {
                reply::settled(&answer).ok_or_else(|| self.odd(DEAD_LETTER.name, "answer"))
            }
            Err(error) if matches!(error.code(), Some("OOM" | "WRONGTYPE" | "NOPERM" | "ERR")) => {
                tracing::error!(stream = %self.config.stream, group = %self.config.group,
                    entry = %letter.entry.id, dead_letters = %kept.stream,
                    error = %chain(&error), "a dead letter was refused; it waits");
                Ok(WriteResult::Refused)
            }
            Err(error) => Err(error),
        }
    }

    /// Acknowledges what nobody will handle, and says so.
    async fn drop_event(
        &self,
        conn: Connection,
        letter: &DeadLetter,
    ) -> Result<WriteResult, Error> {
        if self.acknowledge_checked(conn, &[letter.entry]).await? == 0 {
            return Ok(WriteResult::NotMine);
        }
        tracing::error!(stream = %self.config.stream, group = %self.config.group,
            entry = %letter.entry.id, attempts = letter.attempts, reason = letter.reason,
            "an event is dropped, because this group keeps no dead letters");
        Ok(WriteResult::Done)
    }

    fn dead_letter_args(
        &self,
        kept: &DeadLetters,
        letter: &DeadLetter,
        now: Timestamp,
    ) -> Vec<String> {
        let id = letter.entry.id;
        let first = eventbus_core::event::time_of(id);
        let mut args = vec![self.config.group.to_string(), self.me.to_string()];
        args.push(id.to_string());
        args.push(kept.max_length.to_string());
        let why = [
            ("dlq.id", id.to_string()),
            ("dlq.group", self.config.group.to_string()),
            ("dlq.reason", letter.reason.to_owned()),
            ("dlq.error", letter.error.clone()),
            ("dlq.attempts", letter.attempts.to_string()),
            ("dlq.first", first.to_string()),
            ("dlq.last", now.to_string()),
            ("dlq.consumer", self.me.to_string()),
        ];
        args.extend(why.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        args
    }
}
