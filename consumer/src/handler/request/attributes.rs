//! Attributes of CloudEvents from the fields of an entry that have no meaning for this bus.

use std::collections::HashSet;

use eventbus::StreamEvent;
use serde::{Serialize, Serializer};

/// Attribute for the ordering key, of CloudEvents' extension for partitioning.
pub(super) const PARTITION_KEY: &str = "partitionkey";
/// Maximum number of extension attributes. `subject` and `dataschema` are attributes of CloudEvents itself.
const MAX_EXTENSIONS: usize = 32;
/// Maximum size of all attributes, names and percent-encoded values, in bytes: many servers refuse longer headers.
const MAX_SIZE: usize = 8 * 1024;
/// Maximum size of an attribute's name in bytes, which CloudEvents recommends.
const MAX_NAME: usize = 20;
/// Attributes that a request sets itself, and `data`, which a JSON format forbids.
const RESERVED: [&str; 7] =
    ["id", "source", "type", "time", "specversion", "datacontenttype", "data"];

/// Attributes of an event, in the order of the entry, `subject` and `dataschema` first.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    /// Names and values, each name once.
    pub passed: Vec<(&'a str, &'a str)>,
    /// Number of the entry's unknown fields that are not among them.
    pub omitted: usize,
}

impl<'a> Attributes<'a> {
    /// Selects the fields whose names are those of attributes and whose values are text. The last one of repeated fields
    /// counts. A field beyond the limits is omitted; a smaller one behind it may fit.
    pub fn of(event: &'a StreamEvent) -> Self {
        let fields: Vec<_> = event.extra().collect();
        let mut taken = HashSet::from(RESERVED);
        if event.key().is_some() {
            taken.insert(PARTITION_KEY);
        }
        let last = fields.iter().rev().filter_map(|(name, value)| attribute(name, value));
        let mut candidates: Vec<_> = last.filter(|(name, _)| taken.insert(name)).collect();
        candidates.reverse();
        candidates.sort_by_key(|(name, _)| !is_core(name));
        let mut room = MAX_SIZE - partition_key(event).map_or(0, |key| size(PARTITION_KEY, key));
        let mut extensions = MAX_EXTENSIONS;
        let fits = |(name, value): &(&str, &str)| {
            let (size, extension) = (size(name, value), usize::from(!is_core(name)));
            let fits = size <= room && extension <= extensions;
            if fits {
                (room, extensions) = (room - size, extensions - extension);
            }
            fits
        };
        let passed: Vec<_> = candidates.into_iter().filter(fits).collect();
        let omitted = fields.len() - passed.len();
        Self { passed, omitted }
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.passed.iter().copied())
    }
}

/// Returns the ordering key as far as it can be in a header: `None` if it is missing or too large.
pub(super) fn partition_key(event: &StreamEvent) -> Option<&str> {
    event.key().filter(|key| size(PARTITION_KEY, key) <= MAX_SIZE)
}

/// Returns `true` for the optional attributes that CloudEvents defines itself.
fn is_core(name: &str) -> bool {
    matches!(name, "subject" | "dataschema")
}

/// Returns a field as an attribute; `None` if name or value is none.
fn attribute<'a>(name: &'a [u8], value: &'a [u8]) -> Option<(&'a str, &'a str)> {
    let (name, value) = (std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?);
    let is_name = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    // CloudEvents demands a value of its own attributes.
    (is_name && !(is_core(name) && value.is_empty())).then_some((name, value))
}

/// Returns the size of an attribute in a header.
fn size(name: &str, value: &str) -> usize {
    let value: usize = value.bytes().map(|b| if super::is_plain(b) { 1 } else { 3 }).sum();
    name.len() + value
}
