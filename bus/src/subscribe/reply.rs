//! Reading what a consumer's commands answer.

use redis::Value;

use crate::delivery::{BeatReport, Settled, Taken};
use crate::event::RawEntry;
use crate::reply::{self, fields_of, id_of, number};

pub(super) use crate::reply::array;

/// The entries in the reply to `XREADGROUP` on one stream; nil is none.
pub(super) fn entries(reply: Value) -> Option<Vec<RawEntry>> {
    if reply == Value::Nil {
        return Some(Vec::new());
    }
    let stream = array(reply)?.into_iter().next()?;
    let [_name, entries] = <[Value; 2]>::try_from(array(stream)?).ok()?;
    reply::entries(entries)
}

/// The reply of `take.lua`.
pub(super) fn taken(reply: Value) -> Option<Vec<Taken>> {
    let one = |value: Value| {
        let mut parts = array(value)?.into_iter();
        let (id, attempt) = (id_of(parts.next()?)?, u32::try_from(number(&parts.next()?)?).ok()?);
        // A Lua `false` at the end of a table arrives as nil, or not at all.
        let entry = match parts.next() {
            None | Some(Value::Nil) => None,
            Some(fields) => Some(RawEntry { id, fields: fields_of(fields)? }),
        };
        Some(Taken { id, attempt, entry })
    };
    array(reply)?.into_iter().map(one).collect()
}

/// The reply of `beat.lua`.
pub(super) fn beat(reply: Value) -> Option<BeatReport> {
    let [lost, moved, suspects, parked] = <[Value; 4]>::try_from(array(reply)?).ok()?;
    Some(BeatReport {
        lost: array(lost)?.into_iter().map(id_of).collect::<Option<_>>()?,
        moved: number(&moved)?,
        suspects: number(&suspects)?,
        parked: number(&parked)?,
    })
}

/// One 1 or 0 of `park.lua` or `bury.lua`.
pub(super) fn settled(reply: &Value) -> Option<Settled> {
    number(reply).map(|n| if n == 1 { Settled::Done } else { Settled::NotMine })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::EntryId;

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
        assert_eq!(entries(reply), Some(vec![RawEntry { id, fields }]));
    }

    #[test]
    fn nil_is_no_entry() {
        assert_eq!(entries(Value::Nil), Some(vec![]));
    }

    #[test]
    fn a_taken_entry_without_fields_was_trimmed() {
        let reply = Value::Array(vec![Value::Array(vec![bulk("1-0"), Value::Int(3), Value::Nil])]);
        let id = EntryId { ms: 1, seq: 0 };
        assert_eq!(taken(reply), Some(vec![Taken { id, attempt: 3, entry: None }]));
    }

    #[test]
    fn a_reply_of_another_shape_is_none() {
        assert_eq!(entries(Value::Int(1)), None);
        assert_eq!(beat(Value::Array(vec![])), None);
    }
}
