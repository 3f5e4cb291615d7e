//! Leaving the group.

use std::sync::LazyLock;

use eventbus_core::delivery::Counts;
use eventbus_core::names::{ConsumerName, GroupName};
use redis::Value;

use crate::redis::reply::{Decoded, number};
use crate::redis::script::{Call, Script, Words};

/// A consumer to remove from the group, and the counts that it adds to the sums of removed consumers.
pub(crate) struct Arguments<'a> {
    pub stream: &'a str,
    pub dead_letters: &'a str,
    /// Key of the consumers' hash.
    pub consumers: &'a str,
    pub group: &'a GroupName,
    pub consumer: &'a ConsumerName,
    pub counts: &'a Counts,
}

impl Call for Arguments<'_> {
    /// `false` if it stays because an entry is pending under its name.
    type Reply = bool;
    const OPERATION: &'static str = "leave the group";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("common/sums.lua"), include_str!("leave.lua")))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("stream", self.stream).key("dead_letters", self.dead_letters);
        words.key("consumers", self.consumers);
        words.arg("group", self.group).arg("consumer", self.consumer);
        let sums = [
            ("received", self.counts.received),
            ("acknowledged", self.counts.acknowledged),
            ("retried", self.counts.retried),
            ("dead", self.counts.dead),
            ("skipped", self.counts.skipped),
        ];
        for (name, count) in sums {
            words.arg("name", name).arg("count", count);
        }
    }

    fn read(&self, reply: Value) -> Decoded<bool> {
        Ok(number(&reply).ok_or("number")? == 1)
    }
}
