//! Dead letters: storing one, or dropping the event if the group keeps none.

use eventbus_core::delivery::{DeadLetter, Moment, Source, WriteResult};
use jiff::Timestamp;

use crate::error::{Error, chain};
use crate::redis::Connection;
use crate::scripts::dead_letter;

use super::commands::Consumer;

impl Consumer {
    /// Stores a dead letter at `sent`. Returns [`WriteResult::Refused`] if the server refuses to write it; the entry then stays
    /// pending.
    pub async fn dead_letter(
        &self,
        conn: Connection,
        letter: &DeadLetter,
        (now, sent): (Timestamp, Moment),
    ) -> Result<WriteResult, Error> {
        let Some(kept) = &self.config.dead_letters else {
            return self.drop_event(conn, letter).await;
        };
        let source = letter.entry.source;
        let arguments = dead_letter::Arguments {
            source: self.key(source),
            dead_letters: kept.stream.as_str(),
            consumers: &self.consumers,
            group: &self.config.group,
            consumer: &self.me,
            max_length: kept.max_length,
            letter,
            now,
        };
        match self.call(conn, &arguments).await {
            Err(error) if source == Source::DeadLetters && error.is_no_group() => {
                Ok(WriteResult::NotMine)
            }
            Err(error) if matches!(error.code(), Some("OOM" | "WRONGTYPE" | "NOPERM" | "ERR")) => {
                tracing::error!(stream = %self.config.stream, group = %self.config.group,
                    entry = %letter.entry.id, dead_letters = %kept.stream,
                    error = %chain(&error), "cannot store a dead letter; retrying after a delay");
                Ok(WriteResult::Refused)
            }
            Err(error) => Err(error),
            Ok(stored) => {
                if let Some(dropped) = self.drops.add(stored.dropped, sent) {
                    tracing::warn!(stream = %self.config.stream, group = %self.config.group,
                        dead_letters = %kept.stream, max_length = kept.max_length, dropped,
                        "dropped the oldest dead letters at their maximum length; raise it, or replay or remove them");
                }
                Ok(stored.result)
            }
        }
    }

    /// Acknowledges an event that becomes no dead letter, and logs it.
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
            "dropped an event: its group keeps no dead letters");
        Ok(WriteResult::Done)
    }
}
