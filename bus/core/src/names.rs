//! Names of streams, groups and consumers, and IDs of entries: parsed once at the entry of the program.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Reserved consumer name that holds delayed entries: they wait for another attempt.
pub const DELAYED: &str = "eventbus:delayed";
/// Reserved consumer name that holds suspect entries: their consumer vanished with them in flight.
pub const SUSPECT: &str = "eventbus:suspect";

const MAX_STREAM: usize = 512;
const MAX_GROUP: usize = 200;
const MAX_CONSUMER: usize = 320;

/// Refused name or entry ID. The message has the value and the allowed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A stream's key is empty or longer than 512 bytes.
    #[error("stream {0:?} must have 1 to 512 bytes")]
    Stream(String),
    /// A group's name is not `[A-Za-z0-9][A-Za-z0-9._:-]{0,199}`.
    #[error(
        "group {0:?} must start with a letter or digit and have up to 200 of letters, digits, '.', '_', ':', '-'"
    )]
    Group(String),
    /// A consumer's name is empty, too long, has spaces, or is one of the two reserved names.
    #[error(
        "consumer {0:?} must have 1 to 320 visible ASCII characters and must not be eventbus:delayed or eventbus:suspect"
    )]
    Consumer(String),
    /// An entry ID is not `<milliseconds>` or `<milliseconds>-<sequence>`.
    #[error("entry ID {0:?} must be <milliseconds> or <milliseconds>-<sequence>, each below 2^64")]
    EntryId(String),
}

/// Key of a stream: 1 to 512 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey(String);

impl StreamKey {
    /// Parses a stream's key.
    ///
    /// # Errors
    /// [`NameError::Stream`] if it is empty or longer than 512 bytes.
    pub fn new(key: impl Into<String>) -> Result<Self, NameError> {
        let key = key.into();
        if key.is_empty() || key.len() > MAX_STREAM {
            return Err(NameError::Stream(key));
        }
        Ok(Self(key))
    }

    /// Returns the key as it is in Redis.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a key derived from another one, which may exceed 512 bytes.
    pub(crate) fn derived(key: String) -> Self {
        Self(key)
    }
}

/// Name of a consumer group: `[A-Za-z0-9][A-Za-z0-9._:-]{0,199}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(String);

impl GroupName {
    /// Parses a group's name.
    ///
    /// # Errors
    /// [`NameError::Group`] with the value and the allowed form.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        if !starts || name.len() > MAX_GROUP || !name.chars().all(allowed) {
            return Err(NameError::Group(name));
        }
        Ok(Self(name))
    }

    /// Returns the name as it is in Redis.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of a consumer in a group: 1 to 320 visible ASCII characters, and not a reserved name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName(String);

impl ConsumerName {
    /// Parses a consumer's name.
    ///
    /// # Errors
    /// [`NameError::Consumer`] with the value and the allowed form.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let reserved = name == DELAYED || name == SUSPECT;
        let visible = name.chars().all(|c| c.is_ascii_graphic());
        if name.is_empty() || name.len() > MAX_CONSUMER || reserved || !visible {
            return Err(NameError::Consumer(name));
        }
        Ok(Self(name))
    }

    /// Returns `<name>/<nonce>`, the name for one start of a process, so that two starts never share pending entries.
    #[must_use]
    pub fn with_nonce(&self, nonce: u32) -> Self {
        Self(format!("{}/{nonce:08x}", self.0))
    }

    /// Returns the name as it is in Redis.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// ID of a stream entry, in the order of Redis (`9-0` before `10-0`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since 1970, usually by the server's clock.
    pub ms: u64,
    /// Distinguishes entries of one millisecond.
    pub seq: u64,
}

impl EntryId {
    /// ID before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// ID after every entry.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// Returns the ID just before this one; for [`EntryId::ZERO`] itself.
    #[must_use]
    pub fn before(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => self,
            (ms, 0) => Self { ms: ms - 1, seq: u64::MAX },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }
}

impl FromStr for EntryId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let (ms, seq) = text.split_once('-').unwrap_or((text, "0"));
        match (number(ms), number(seq)) {
            (Some(ms), Some(seq)) => Ok(Self { ms, seq }),
            _ => Err(NameError::EntryId(text.to_owned())),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Serializes the ID as text, such as `"1700000000000-0"`, because not every JSON parser has 64-bit numbers.
impl Serialize for EntryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_ids_sort_by_number_not_by_text() {
        let ids: Vec<EntryId> =
            ["9-0", "10-0", "10-2", "10-10"].map(|t| t.parse().unwrap()).to_vec();
        assert!(ids.is_sorted());
    }

    #[test]
    fn an_entry_id_without_sequence_means_sequence_zero() {
        assert_eq!("17".parse(), Ok(EntryId { ms: 17, seq: 0 }));
    }

    #[test]
    fn an_entry_id_that_is_none_is_refused() {
        for text in ["", "-", "1-", "-1", "+1", "1-2-3", "$", "18446744073709551616"] {
            assert_eq!(text.parse::<EntryId>(), Err(NameError::EntryId(text.into())));
        }
    }

    #[test]
    fn the_id_before_borrows_from_the_milliseconds() {
        assert_eq!("5-0".parse::<EntryId>().unwrap().before(), EntryId { ms: 4, seq: u64::MAX });
        assert_eq!(EntryId::ZERO.before(), EntryId::ZERO);
    }

    #[test]
    fn a_group_name_with_a_space_or_brace_is_refused() {
        for name in ["", "a b", "{a}", "-a", "é", &"a".repeat(201)] {
            assert!(GroupName::new(name).is_err(), "{name}");
        }
        assert!(GroupName::new("a.B_c:d-9").is_ok());
    }

    #[test]
    fn the_reserved_consumer_names_cannot_be_claimed() {
        for name in [DELAYED, SUSPECT, "", "a b"] {
            assert!(ConsumerName::new(name).is_err(), "{name}");
        }
        assert_eq!(ConsumerName::new("pod").unwrap().with_nonce(255).as_str(), "pod/000000ff");
    }
}
