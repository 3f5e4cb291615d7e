//! Record of the outbox: its creation time, and the fields of its entry as they are sent.

use std::borrow::Cow;

/// Name and value of a field.
pub(crate) type Field<'a> = (&'a [u8], &'a [u8]);

/// Decoded record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Creation time, milliseconds since 1970.
    pub made_ms: u64,
    pub fields: Vec<Field<'a>>,
}

impl Record<'_> {
    /// Returns the text of a field; empty without the field.
    pub fn text(&self, name: &str) -> String {
        let field = self.fields.iter().find(|(field, _)| *field == name.as_bytes());
        field.map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value).into_owned())
    }
}

/// Encodes a record.
pub(crate) fn write(made_ms: u64, fields: &[(&str, Cow<'_, str>)]) -> Vec<u8> {
    let text = fields.iter().map(|(name, value)| 8 + name.len() + value.len());
    let mut bytes = Vec::with_capacity(8 + text.sum::<usize>());
    bytes.extend(made_ms.to_le_bytes());
    for text in fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]) {
        // A longer field exceeds the maximum of a record, which the caller checks.
        bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(text);
    }
    bytes
}

/// Decodes a record; `None` if the bytes are not a record.
pub(crate) fn read(bytes: &[u8]) -> Option<Record<'_>> {
    let (made_ms, mut rest) = bytes.split_first_chunk()?;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        fields.push((text(&mut rest)?, text(&mut rest)?));
    }
    let made_ms = u64::from_le_bytes(*made_ms);
    (!fields.is_empty()).then_some(Record { made_ms, fields })
}

fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_whatever_its_fields_hold() {
        let fields = [("type", "t".into()), ("key", "a\0b\r\n".into()), ("source", "".into())];
        let bytes = write(5, &fields);
        let record = read(&bytes).unwrap();
        assert_eq!(record.made_ms, 5);
        let expected: [Field<'_>; 3] = [(b"type", b"t"), (b"key", b"a\0b\r\n"), (b"source", b"")];
        assert_eq!(record.fields, expected);
    }

    #[test]
    fn bytes_that_are_no_record_are_none_and_nothing_panics() {
        let bytes = write(5, &[("type", "t".into()), ("payload", "1".into())]);
        let whole = [bytes.len(), 8 + 4 + 4 + 4 + 1];
        for cut in 0..=bytes.len() {
            assert_eq!(read(&bytes[..cut]).is_some(), whole.contains(&cut), "cut at {cut}");
        }
    }
}
