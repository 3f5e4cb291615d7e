//! Delaying entries that a consumer holds.

use std::sync::LazyLock;

use eventbus_core::delivery::{DelayRequest, Pool, WriteResult};
use eventbus_core::names::{ConsumerName, GroupName};
use eventbus_core::time::millis;
use redis::Value;

use crate::redis::reply::{Decoded, list, number};
use crate::redis::script::{Call, Script, Words};

/// Entries to move to a reserved consumer until they are due.
pub(crate) struct Arguments<'a> {
    /// The stream, or its dead letters.
    pub source: &'a str,
    pub group: &'a GroupName,
    pub consumer: &'a ConsumerName,
    /// Target of all of them.
    pub pool: Pool,
    /// The entries, each with its attempts and its delay.
    pub requests: &'a [DelayRequest],
}

impl Call for Arguments<'_> {
    /// One result for each entry, in their order.
    type Reply = Vec<WriteResult>;
    const OPERATION: &'static str = "delay events";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("delay.lua")));
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("source", self.source);
        words.arg("group", self.group).arg("consumer", self.consumer);
        words.arg("pool", self.pool.consumer());
        for request in self.requests {
            words.arg("id", request.id).arg("attempts", request.attempts);
            words.arg("delay", millis(request.delay));
        }
    }

    fn read(&self, reply: Value) -> Decoded<Vec<WriteResult>> {
        let result = |value| match number(value)? {
            1 => Some(WriteResult::Done),
            2 => Some(WriteResult::Trimmed),
            _ => Some(WriteResult::NotMine),
        };
        let results = list(&reply).and_then(|values| values.iter().map(result).collect());
        let results = results.filter(|results: &Vec<_>| results.len() == self.requests.len());
        results.ok_or("answer for each")
    }
}
