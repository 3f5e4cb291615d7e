//! Claiming entries that are due from those that no consumer has in flight.

use std::sync::LazyLock;

use eventbus_core::delivery::{Claimed, Pool};
use eventbus_core::event::RawEntry;
use eventbus_core::names::{ConsumerName, GroupName};
use redis::Value;

use crate::redis::reply::{Decoded, array, entry_id, fields_of, number};
use crate::redis::script::{Call, Script, Words};

/// Due entries to claim, the oldest first. Each claim counts as an attempt.
pub(crate) struct Arguments<'a> {
    /// The stream, or its dead letters.
    pub source: &'a str,
    pub group: &'a GroupName,
    pub consumer: &'a ConsumerName,
    pub pool: Pool,
    /// Maximum number of entries.
    pub max: usize,
}

impl Call for Arguments<'_> {
    /// Claimed entries, those included that were trimmed while they waited.
    type Reply = Vec<Claimed>;
    const OPERATION: &'static str = "claim waiting events";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("common/attempts.lua"), include_str!("claim.lua")))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("source", self.source);
        words.arg("group", self.group).arg("consumer", self.consumer);
        words.arg("pool", self.pool.consumer()).arg("max", self.max);
    }

    fn read(&self, reply: Value) -> Decoded<Vec<Claimed>> {
        claimed(reply).ok_or("entries")
    }
}

fn claimed(reply: Value) -> Option<Vec<Claimed>> {
    array(reply)?.into_iter().map(|entry| claimed_entry(array(entry)?)).collect()
}

/// Decodes ID, attempt and fields.
pub(super) fn claimed_entry(parts: Vec<Value>) -> Option<Claimed> {
    let mut parts = parts.into_iter();
    let (id, attempt) = (entry_id(&parts.next()?)?, number(&parts.next()?)?);
    // Any client may set a delivery count to any number.
    let attempt = u32::try_from(attempt).unwrap_or(u32::MAX).max(1);
    // A Lua `false` at the end of a table arrives as nil, or not at all.
    let entry = match parts.next() {
        None | Some(Value::Nil) => None,
        Some(fields) => Some(RawEntry::new(id, fields_of(fields)?)),
    };
    Some(Claimed { id, attempt, entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::names::EntryId;

    fn with_count(count: i64) -> Claimed {
        let id = Value::BulkString(b"1-0".to_vec());
        let entry = Value::Array(vec![id, Value::Int(count), Value::Nil]);
        claimed(Value::Array(vec![entry])).unwrap().remove(0)
    }

    #[test]
    fn a_claimed_entry_without_fields_was_trimmed() {
        let id = EntryId { ms: 1, seq: 0 };
        assert_eq!(with_count(3), Claimed { id, attempt: 3, entry: None });
    }

    #[test]
    fn a_delivery_count_of_any_size_is_an_attempt() {
        for (count, attempt) in [(0, 1), (i64::MAX, u32::MAX)] {
            assert_eq!(with_count(count).attempt, attempt);
        }
    }
}
