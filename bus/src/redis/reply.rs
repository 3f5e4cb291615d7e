//! Decoding of replies, value by value: an entry with bytes that are not UTF-8 does not fail the others of its batch.

use eventbus_core::event::RawEntry;
use eventbus_core::names::EntryId;
use redis::Value;

/// A decoded reply, or the part of it that is missing or malformed.
pub(crate) type Decoded<T> = Result<T, &'static str>;

/// Decodes the reply to `XRANGE`; `None` if it is malformed.
pub(crate) fn entries(reply: Value) -> Option<Vec<RawEntry>> {
    array(reply)?.into_iter().map(entry).collect()
}

/// Returns the entries in the reply to `XREADGROUP` on one stream; nil is none.
pub(crate) fn read_entries(reply: Value) -> Option<Vec<RawEntry>> {
    if reply == Value::Nil {
        return Some(Vec::new());
    }
    let stream = array(reply)?.into_iter().next()?;
    let [_name, read] = <[Value; 2]>::try_from(array(stream)?).ok()?;
    entries(read)
}

fn entry(value: Value) -> Option<RawEntry> {
    let [id, fields] = <[Value; 2]>::try_from(array(value)?).ok()?;
    Some(RawEntry::new(entry_id(&id)?, fields_of(fields)?))
}

/// Returns the values of an array.
pub(crate) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// Returns the values of an array, without taking them.
pub(crate) fn list(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// Returns a number that is not negative.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// Decodes the fields of an entry: names and values alternate.
pub(crate) fn fields_of(value: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut values = array(value)?.into_iter();
    let mut fields = Vec::with_capacity(values.len() / 2);
    while let Some(name) = values.next() {
        fields.push((bytes(name)?, bytes(values.next()?)?));
    }
    Some(fields)
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

/// Decodes an entry ID; `None` for nil and for anything else.
pub(crate) fn entry_id(value: &Value) -> Option<EntryId> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// Decodes a text such as a name. A backslash and, in a text that is not UTF-8, all but visible ASCII is escaped: two
/// texts that differ are never shown alike.
pub(crate) fn text(value: &Value) -> Option<String> {
    let Value::BulkString(bytes) = value else { return None };
    let escaped = |_| bytes.escape_ascii().to_string();
    Some(std::str::from_utf8(bytes).map_or_else(escaped, |text| text.replace('\\', r"\\")))
}

/// A reply, or a part of one, whose values have names. The error of a getter is the name.
pub(crate) struct Record<'a>(Vec<(&'a [u8], &'a Value)>);

impl<'a> Record<'a> {
    /// Reads a list in which names and values alternate.
    pub(crate) fn new(reply: &'a Value) -> Option<Self> {
        let pairs = list(reply)?.chunks_exact(2);
        pairs.map(|pair| Some((name(&pair[0])?, &pair[1]))).collect::<Option<_>>().map(Self)
    }

    /// Reads a list of values whose names are in another list, in the same order.
    pub(crate) fn row(names: &'a [Value], values: &'a Value) -> Option<Self> {
        let values = list(values).filter(|values| values.len() == names.len())?;
        let pairs = names.iter().zip(values);
        pairs.map(|(key, value)| Some((name(key)?, value))).collect::<Option<_>>().map(Self)
    }

    /// Returns a value.
    pub(crate) fn value(&self, name: &'static str) -> Decoded<&'a Value> {
        let found = self.0.iter().find(|(known, _)| *known == name.as_bytes());
        found.map(|(_, value)| *value).ok_or(name)
    }

    /// Returns a number.
    pub(crate) fn number(&self, name: &'static str) -> Decoded<u64> {
        number(self.value(name)?).ok_or(name)
    }

    /// Returns an entry ID.
    pub(crate) fn id(&self, name: &'static str) -> Decoded<EntryId> {
        entry_id(self.value(name)?).ok_or(name)
    }

    /// Returns the values of an array.
    pub(crate) fn list(&self, name: &'static str) -> Decoded<&'a [Value]> {
        list(self.value(name)?).ok_or(name)
    }
}

fn name(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn entries_keep_bytes_that_are_not_utf_8_and_repeated_fields() {
        let binary = Value::BulkString(vec![0xff]);
        let fields = Value::Array(vec![bulk("a"), binary, bulk("a"), bulk("2")]);
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

    #[test]
    fn entries_are_read_from_beside_the_name_of_their_stream() {
        let fields = Value::Array(vec![bulk("a"), bulk("1")]);
        let entry = Value::Array(vec![bulk("1-2"), fields]);
        let reply = Value::Array(vec![Value::Array(vec![bulk("s"), Value::Array(vec![entry])])]);
        let fields = vec![(b"a".to_vec(), b"1".to_vec())];
        let id = EntryId { ms: 1, seq: 2 };
        assert_eq!(read_entries(reply), Some(vec![RawEntry::new(id, fields)]));
    }

    #[test]
    fn texts_that_differ_are_shown_differently() {
        let shown = |bytes: &[u8]| text(&Value::BulkString(bytes.to_vec())).unwrap();
        let cases: [(&[u8], &str); 8] = [
            (b"\xff\xfe", r"\xff\xfe"),
            (br"\xff\xfe", r"\\xff\\xfe"),
            (br"\\xff\\xfe", r"\\\\xff\\\\xfe"),
            ("é".as_bytes(), "é"),
            (b"\xc3\xa9\xff", r"\xc3\xa9\xff"),
            (br"\xc3\xa9\xff", r"\\xc3\\xa9\\xff"),
            (b"\n\xff", r"\n\xff"),
            (b"\\n\xff", r"\\n\xff"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(shown(bytes), expected);
        }
    }

    #[test]
    fn nil_is_no_entry_and_another_form_is_no_reply() {
        assert_eq!(read_entries(Value::Nil), Some(vec![]));
        assert_eq!(read_entries(Value::Int(1)), None);
    }

    #[test]
    fn a_record_finds_values_by_name_in_any_order_and_reports_the_name_of_a_missing_one() {
        let reply = Value::Array(vec![bulk("b"), Value::Int(2), bulk("a"), bulk("1-0")]);
        let record = Record::new(&reply).unwrap();
        assert_eq!((record.number("b"), record.id("a")), (Ok(2), Ok(EntryId { ms: 1, seq: 0 })));
        assert_eq!((record.number("a"), record.number("c")), (Err("a"), Err("c")));
    }

    #[test]
    fn a_row_has_as_many_values_as_names() {
        let names = [bulk("a"), bulk("b")];
        let row = Value::Array(vec![Value::Int(1), Value::Int(2)]);
        assert_eq!(Record::row(&names, &row).unwrap().number("b"), Ok(2));
        assert!(Record::row(&names, &Value::Array(vec![Value::Int(1)])).is_none());
    }
}
