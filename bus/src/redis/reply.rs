//! Reading replies value by value: one entry with odd bytes must not cost the others of its batch.

use redis::Value;

use eventbus_core::event::RawEntry;
use eventbus_core::names::EntryId;

/// The entries in the reply to `XRANGE`.
pub(crate) fn entries(reply: Value) -> Option<Vec<RawEntry>> {
    array(reply)?.into_iter().map(entry).collect()
}

fn entry(value: Value) -> Option<RawEntry> {
    let [id, fields] = <[Value; 2]>::try_from(array(value)?).ok()?;
    Some(RawEntry::new(id_of(id)?, fields_of(fields)?))
}

pub(crate) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

pub(crate) fn id_of(value: Value) -> Option<EntryId> {
    String::from_utf8(bytes(value)?).ok()?.parse().ok()
}

/// An entry's names and values, which stand one after the other.
pub(crate) fn fields_of(value: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut values = array(value)?.into_iter();
    let mut fields = Vec::with_capacity(values.len() / 2);
    while let Some(name) = values.next() {
        fields.push((bytes(name)?, bytes(values.next()?)?));
    }
    Some(fields)
}

/// The entry ID in a reply; `None` for nil and for anything else.
pub(crate) fn entry_id(value: &Value) -> Option<EntryId> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// A text in a reply; bytes that are not UTF-8 are escaped.
pub(crate) fn text(value: &Value) -> Option<String> {
    let Value::BulkString(bytes) = value else { return None };
    let escaped = || bytes.escape_ascii().to_string();
    Some(std::str::from_utf8(bytes).map_or_else(|_| escaped(), ToOwned::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn entries_keep_odd_bytes_and_repeated_fields() {
        let odd = Value::BulkString(vec![0xff]);
        let fields = Value::Array(vec![bulk("a"), odd, bulk("a"), bulk("2")]);
        let reply = Value::Array(vec![Value::Array(vec![bulk("1-2"), fields])]);
        let fields = vec![(b"a".to_vec(), vec![0xff]), (b"a".to_vec(), b"2".to_vec())];
        let id = EntryId { ms: 1, seq: 2 };
        assert_eq!(entries(reply), Some(vec![RawEntry::new(id, fields)]));
    }

    #[test]
    fn a_name_without_a_value_is_no_entry() {
        let entry = Value::Array(vec![bulk("1-2"), Value::Array(vec![bulk("a")])]);
        assert_eq!(entries(Value::Array(vec![entry])), None);
    }
}
