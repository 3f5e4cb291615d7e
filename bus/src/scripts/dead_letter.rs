//! Storing an entry as a dead letter.

use std::sync::LazyLock;

use eventbus_core::delivery::{DeadLetter, WriteResult};
use eventbus_core::event::time_of;
use eventbus_core::names::{ConsumerName, GroupName};
use jiff::Timestamp;
use redis::Value;

use crate::redis::reply::{Decoded, list, number};
use crate::redis::script::{Call, Script, Words};

/// An entry to store as a dead letter and to acknowledge, if the consumer still holds it.
pub(crate) struct Arguments<'a> {
    /// The stream, or its dead letters for a replay: the new dead letter then takes the place of the old one.
    pub source: &'a str,
    pub dead_letters: &'a str,
    /// Key of the consumers' hash, in which dead letters are counted.
    pub consumers: &'a str,
    pub group: &'a GroupName,
    pub consumer: &'a ConsumerName,
    /// Maximum number of dead letters that are kept, the newest; the others are dropped and counted, at most 10,000 at once.
    pub max_length: u64,
    pub letter: &'a DeadLetter,
    /// Time of this attempt.
    pub now: Timestamp,
}

/// Result of storing a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub result: WriteResult,
    /// Number of dead letters that were dropped to keep the maximum length, the oldest.
    pub dropped: u64,
}

impl Call for Arguments<'_> {
    type Reply = Stored;
    const OPERATION: &'static str = "store a dead letter";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("common/sums.lua"), include_str!("dead_letter.lua")))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        let id = self.letter.entry.id;
        // The server takes a signed number.
        let max_length = self.max_length.min(i64::MAX.unsigned_abs());
        words.key("source", self.source).key("dead_letters", self.dead_letters);
        words.key("consumers", self.consumers);
        words.arg("group", self.group).arg("consumer", self.consumer);
        words.arg("id", id).arg("max_length", max_length);
        let mut field = |name, value: &dyn ToString| {
            words.arg("name", name).arg("value", value.to_string());
        };
        field("dlq.id", &id);
        field("dlq.group", &self.group);
        field("dlq.reason", &self.letter.reason);
        field("dlq.error", &self.letter.error);
        field("dlq.attempts", &self.letter.attempts);
        field("dlq.first", &time_of(id));
        field("dlq.last", &self.now);
        field("dlq.consumer", &self.consumer);
    }

    fn read(&self, reply: Value) -> Decoded<Stored> {
        stored(&reply).ok_or("answer")
    }
}

fn stored(reply: &Value) -> Option<Stored> {
    let [is_mine, dropped] = list(reply)? else { return None };
    let result = if number(is_mine)? == 1 { WriteResult::Done } else { WriteResult::NotMine };
    Some(Stored { result, dropped: number(dropped)? })
}
