//! Reading the group's oldest unfinished entry, with the stream's order kept.

use std::sync::LazyLock;
use std::time::Duration;

use eventbus_core::delivery::{NextInOrder, Pool};
use eventbus_core::names::{ConsumerName, EntryId, GroupName};
use eventbus_core::time::millis;
use redis::Value;

use crate::redis::reply::{Decoded, array, entry_id, number};
use crate::redis::script::{Call, Script, Words};

use super::claim::claimed_entry;

/// Request of a consumer for the next entry, which acknowledges the previous one too.
pub(crate) struct Arguments<'a> {
    pub stream: &'a str,
    /// Key of the consumers' hash.
    pub consumers: &'a str,
    pub group: &'a GroupName,
    pub consumer: &'a ConsumerName,
    pub lease: Duration,
    /// Lease of consumers that never reported theirs.
    pub foreign_lease: Duration,
    /// Entry to acknowledge.
    pub done: Option<EntryId>,
}

impl Call for Arguments<'_> {
    /// The next entry; `None` if the consumer does not hold `done` any more.
    type Reply = Option<NextInOrder>;
    const OPERATION: &'static str = "read the next event";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("common/reply.lua"),
                include_str!("common/attempts.lua"),
                include_str!("common/lease.lua"),
                include_str!("next_in_order.lua")
            ))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("stream", self.stream).key("consumers", self.consumers);
        words.arg("group", self.group).arg("consumer", self.consumer);
        words.arg("lease", millis(self.lease)).arg("foreign_lease", millis(self.foreign_lease));
        words.arg("done", self.done.map(|id| id.to_string()).unwrap_or_default());
    }

    fn read(&self, reply: Value) -> Decoded<Option<NextInOrder>> {
        decoded(reply).ok_or("entry")
    }
}

fn decoded(reply: Value) -> Option<Option<NextInOrder>> {
    let parts = array(reply)?;
    if number(parts.first()?)? == 0 { Some(None) } else { next(parts).map(Some) }
}

fn next(mut parts: Vec<Value>) -> Option<NextInOrder> {
    match word(parts.get(1)?)? {
        b"wait" => Some(NextInOrder::Wait(Duration::from_millis(number(parts.get(2)?)?))),
        b"empty" => Some(NextInOrder::Empty(entry_id(parts.get(2)?)?)),
        b"entry" => {
            let pool = match word(parts.get(2)?)? {
                b"" => None,
                b"delayed" => Some(Pool::Delayed),
                b"suspect" => Some(Pool::Suspect),
                _ => return None,
            };
            Some(NextInOrder::Entry { pool, claimed: claimed_entry(parts.split_off(3))? })
        }
        _ => None,
    }
}

fn word(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::delivery::Claimed;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn the_next_entry_is_an_entry_a_wait_or_none() {
        let reply = |parts: Vec<Value>| {
            decoded(Value::Array([vec![Value::Int(1)], parts].concat())).unwrap().unwrap()
        };
        let id = EntryId { ms: 1, seq: 0 };
        let wait = reply(vec![bulk("wait"), Value::Int(20)]);
        assert_eq!(wait, NextInOrder::Wait(Duration::from_millis(20)));
        assert_eq!(reply(vec![bulk("empty"), bulk("1-0")]), NextInOrder::Empty(id));
        let entry = vec![bulk("entry"), bulk("delayed"), bulk("1-0"), Value::Int(2), Value::Nil];
        let claimed = Claimed { id, attempt: 2, entry: None };
        assert_eq!(reply(entry), NextInOrder::Entry { pool: Some(Pool::Delayed), claimed });
        assert_eq!(decoded(Value::Array(vec![Value::Int(0)])), Some(None));
    }

    #[test]
    fn a_reply_of_another_form_is_refused() {
        let later = Value::Array(vec![Value::Int(1), bulk("later")]);
        assert_eq!(decoded(later), None);
    }
}
