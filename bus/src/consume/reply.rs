//! Reading what a consumer's commands answer.

use std::time::Duration;

use redis::Value;

use crate::redis::reply::{self, bytes, fields_of, id_of};
use eventbus_core::delivery::{
    Claimed, EntryRef, HeartbeatReport, NextInOrder, Pool, Source, WriteResult,
};
use eventbus_core::event::RawEntry;

pub(super) use crate::redis::reply::{array, number};

/// The entries in the reply to `XREADGROUP` on one stream; nil is none.
pub(super) fn entries(reply: Value) -> Option<Vec<RawEntry>> {
    if reply == Value::Nil {
        return Some(Vec::new());
    }
    let stream = array(reply)?.into_iter().next()?;
    let [_name, entries] = <[Value; 2]>::try_from(array(stream)?).ok()?;
    reply::entries(entries)
}

/// The reply of `claim.lua`.
pub(super) fn claimed(reply: Value) -> Option<Vec<Claimed>> {
    array(reply)?.into_iter().map(|value| claimed_entry(array(value)?)).collect()
}

/// ID, attempt, fields.
fn claimed_entry(parts: Vec<Value>) -> Option<Claimed> {
    let mut parts = parts.into_iter();
    let (id, attempt) = (id_of(parts.next()?)?, number(&parts.next()?)?);
    // Somebody may have set any number.
    let attempt = u32::try_from(attempt).unwrap_or(u32::MAX).max(1);
    // A Lua `false` at the end of a table arrives as nil, or not at all.
    let entry = match parts.next() {
        None | Some(Value::Nil) => None,
        Some(fields) => Some(RawEntry::new(id, fields_of(fields)?)),
    };
    Some(Claimed { id, attempt, entry })
}

/// The reply of `next_in_order.lua`: whether what was done was mine, and what comes next.
pub(super) fn next(reply: Value) -> Option<(bool, Option<NextInOrder>)> {
    let mut parts = array(reply)?;
    if number(parts.first()?)? == 0 {
        return Some((false, None));
    }
    let what = bytes(parts.get(1)?.clone())?;
    let next = match what.as_slice() {
        b"wait" => NextInOrder::Wait(Duration::from_millis(number(parts.get(2)?)?)),
        b"empty" => NextInOrder::Empty(id_of(parts.get(2)?.clone())?),
        b"entry" => {
            let pool = match bytes(parts.get(2)?.clone())?.as_slice() {
                b"" => None,
                b"delayed" => Some(Pool::Delayed),
                b"suspect" => Some(Pool::Suspect),
                _ => return None,
            };
            NextInOrder::Entry { pool, claimed: claimed_entry(parts.split_off(3))? }
        }
        _ => return None,
    };
    Some((true, Some(next)))
}

/// The reply of `heartbeat.lua`.
pub(super) fn heartbeat(reply: Value) -> Option<HeartbeatReport> {
    let parts = <[Value; 8]>::try_from(array(reply)?).ok()?;
    let [lost, lost_replays, moved, due, due_replays, delayed, replays, trimmed] = parts;
    let mut all = Vec::new();
    for (source, ids) in [(Source::Stream, lost), (Source::DeadLetters, lost_replays)] {
        for id in array(ids)? {
            all.push(EntryRef { source, id: id_of(id)? });
        }
    }
    let mut suspects = Vec::new();
    for (source, due) in [(Source::Stream, due), (Source::DeadLetters, due_replays)] {
        if number(&due)? > 0 {
            suspects.push(source);
        }
    }
    let (moved, delayed, replays) = (number(&moved)?, number(&delayed)?, number(&replays)?);
    let trimmed = number(&trimmed)?;
    Some(HeartbeatReport { lost: all, moved, trimmed, suspects, delayed, replays })
}

/// One number of `delay.lua` or `dead-letter.lua`.
pub(super) fn settled(reply: &Value) -> Option<WriteResult> {
    match number(reply)? {
        1 => Some(WriteResult::Done),
        2 => Some(WriteResult::Trimmed),
        _ => Some(WriteResult::NotMine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::names::EntryId;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn entries_are_read_from_beside_the_name_of_their_stream() {
        let fields = Value::Array(vec![bulk("a"), bulk("1")]);
        let entry = Value::Array(vec![bulk("1-2"), fields]);
        let reply = Value::Array(vec![Value::Array(vec![bulk("s"), Value::Array(vec![entry])])]);
        let fields = vec![(b"a".to_vec(), b"1".to_vec())];
        let id = EntryId { ms: 1, seq: 2 };
        assert_eq!(entries(reply), Some(vec![RawEntry::new(id, fields)]));
    }

    #[test]
    fn nil_is_no_entry() {
        assert_eq!(entries(Value::Nil), Some(vec![]));
    }

    #[test]
    fn a_claimed_entry_without_fields_was_trimmed() {
        let reply = Value::Array(vec![Value::Array(vec![bulk("1-0"), Value::Int(3), Value::Nil])]);
        let id = EntryId { ms: 1, seq: 0 };
        assert_eq!(claimed(reply), Some(vec![Claimed { id, attempt: 3, entry: None }]));
    }

    #[test]
    fn what_comes_next_is_an_entry_a_wait_or_nothing() {
        let reply = |parts: Vec<Value>| {
            next(Value::Array([vec![Value::Int(1)], parts].concat())).unwrap().1.unwrap()
        };
        let id = EntryId { ms: 1, seq: 0 };
        let wait = reply(vec![bulk("wait"), Value::Int(20)]);
        assert_eq!(wait, NextInOrder::Wait(Duration::from_millis(20)));
        assert_eq!(reply(vec![bulk("empty"), bulk("1-0")]), NextInOrder::Empty(id));
        let entry = vec![bulk("entry"), bulk("delayed"), bulk("1-0"), Value::Int(2), Value::Nil];
        let claimed = Claimed { id, attempt: 2, entry: None };
        assert_eq!(reply(entry), NextInOrder::Entry { pool: Some(Pool::Delayed), claimed });
        assert_eq!(next(Value::Array(vec![Value::Int(0)])), Some((false, None)));
    }

    #[test]
    fn a_delivery_count_of_any_size_is_an_attempt() {
        for (number, attempt) in [(0, 1), (i64::MAX, u32::MAX)] {
            let reply =
                Value::Array(vec![Value::Array(vec![bulk("1-0"), Value::Int(number), Value::Nil])]);
            assert_eq!(claimed(reply).unwrap()[0].attempt, attempt);
        }
    }

    #[test]
    fn a_reply_of_another_shape_is_none() {
        assert_eq!(entries(Value::Int(1)), None);
        assert_eq!(heartbeat(Value::Array(vec![])), None);
        assert_eq!(next(Value::Array(vec![Value::Int(1), bulk("later")])), None);
    }
}
