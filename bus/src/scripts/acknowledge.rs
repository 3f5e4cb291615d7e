//! Acknowledging entries that may belong to another consumer by now.

use std::sync::LazyLock;

use eventbus_core::names::{ConsumerName, EntryId, GroupName};
use redis::Value;

use crate::redis::reply::{Decoded, number};
use crate::redis::script::{Call, Script, Words};

/// Entries to acknowledge as far as the consumer still holds them: past their lease, or replays, which end with it.
pub(crate) struct Arguments<'a> {
    /// The stream, or its dead letters.
    pub source: &'a str,
    pub group: &'a GroupName,
    pub consumer: &'a ConsumerName,
    /// Deletes the entries too.
    pub delete: bool,
    pub ids: &'a [EntryId],
}

impl Call for Arguments<'_> {
    /// Number of entries that were acknowledged.
    type Reply = u64;
    const OPERATION: &'static str = "acknowledge late events";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!("acknowledge.lua")));
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("source", self.source);
        words.arg("group", self.group).arg("consumer", self.consumer);
        words.arg("delete", u8::from(self.delete));
        for id in self.ids {
            words.arg("id", id);
        }
    }

    fn read(&self, reply: Value) -> Decoded<u64> {
        number(&reply).ok_or("number")
    }
}
