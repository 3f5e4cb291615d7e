//! Lag of a group, computed from the facts of a snapshot without counting.
//!
//! The lag that Redis reports is wrong after trimming before version 8, and missing after a deletion, so it is used
//! last.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::facts::{GroupFacts, ServerInfo, StreamFacts};
use crate::names::EntryId;

/// Maximum reported lag that is verified by counting.
pub const COUNTED_UP_TO: u64 = 1_000;

/// Source of a lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagSource {
    /// It follows from the facts of one snapshot.
    Exact,
    /// The entries were counted.
    Counted,
    /// The server reports it; after trimming it may be too high.
    Reported,
    /// Counting stopped at its limit: the lag is higher than this.
    AtLeast,
    /// Not known.
    Unknown,
}

impl LagSource {
    /// Returns the name, as in `status.lagSource`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "Exact",
            Self::Counted => "Counted",
            Self::Reported => "Reported",
            Self::AtLeast => "AtLeast",
            Self::Unknown => "Unknown",
        }
    }
}

/// Serializes the [name](LagSource::name).
impl Serialize for LagSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Lag: the number of entries of the stream that were not delivered to a group yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Number of entries; `None` if and only if the source is [`LagSource::Unknown`].
    pub value: Option<u64>,
    /// Source of the number.
    pub source: LagSource,
}

impl Lag {
    /// Unknown lag, which is not the same as 0.
    pub const UNKNOWN: Self = Self { value: None, source: LagSource::Unknown };

    /// Creates a known lag.
    #[must_use]
    pub fn new(value: u64, source: LagSource) -> Self {
        Self { value: Some(value), source }
    }

    /// Returns the lag that the server reports, for use where counting is not possible.
    #[must_use]
    pub fn reported(group: &GroupFacts) -> Self {
        group.reported_lag.map_or(Self::UNKNOWN, |lag| Self::new(lag, LagSource::Reported))
    }
}

/// Formats the lag: `12`, `~8421` (reported), `>1000` (at least), `?` (unknown).
impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.value, self.source) {
            (None, _) | (_, LagSource::Unknown) => f.write_str("?"),
            (Some(value), LagSource::Reported) => write!(f, "~{value}"),
            (Some(value), LagSource::AtLeast) => write!(f, ">{value}"),
            (Some(value), LagSource::Exact | LagSource::Counted) => write!(f, "{value}"),
        }
    }
}

/// Result of computing a group's lag from the facts of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// The best lag without counting.
    Known(Lag),
    /// The entries after the group's last delivered one must be counted.
    Count,
}

/// Computes the lag of a group of `stream`, as far as the facts suffice.
///
/// A group ahead of the stream has an unknown lag: entries that are added below its position are never delivered to it.
#[must_use]
pub fn estimate(stream: &StreamFacts, group: &GroupFacts, server: &ServerInfo) -> Estimate {
    let exact = |value| Estimate::Known(Lag::new(value, LagSource::Exact));
    if group.is_ahead_of(stream) {
        return Estimate::Known(Lag::UNKNOWN);
    }
    let Some(first) = stream.first_entry else { return exact(0) };
    if group.last_delivered == stream.last_generated {
        return exact(0);
    }
    if first > group.last_delivered {
        return exact(stream.length);
    }
    match group.reported_lag {
        Some(lag) if server.reports_true_lag() => exact(lag),
        Some(lag) if lag > COUNTED_UP_TO => Estimate::Known(Lag::reported(group)),
        _ => Estimate::Count,
    }
}

/// Known lag with the facts of its moment. Compared with a later snapshot they show whether entries were deleted or
/// trimmed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The lag at that moment.
    pub lag: Lag,
    last_delivered: EntryId,
    entries_added: u64,
    length: u64,
    first_entry: Option<EntryId>,
}

impl Mark {
    /// Creates a mark of `lag` with the facts of its moment.
    #[must_use]
    pub fn new(stream: &StreamFacts, group: &GroupFacts, lag: Lag) -> Self {
        Self {
            lag,
            last_delivered: group.last_delivered,
            entries_added: stream.entries_added,
            length: stream.length,
            first_entry: stream.first_entry,
        }
    }

    /// Returns the entry after which [`Mark::undelivered`] counts.
    pub fn position(&self) -> EntryId {
        self.last_delivered
    }

    /// Returns the number of entries after the mark's position now; `None` if some of them may have been deleted since.
    pub fn undelivered(&self, stream: &StreamFacts) -> Option<u64> {
        let added = stream.entries_added.checked_sub(self.entries_added)?;
        let nothing_deleted = stream.first_entry == self.first_entry
            && stream.length.checked_sub(self.length) == Some(added);
        let position = self.last_delivered;
        // Trimming shows in the first entry, XDEL in the largest deleted ID.
        let deleted_before_only = stream.first_entry.is_some_and(|first| first <= position)
            && stream.max_deleted <= position;
        (nothing_deleted || deleted_before_only).then_some(self.lag.value? + added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// Entries 4-0 to 10-0 of ten that were added.
    fn stream() -> StreamFacts {
        StreamFacts {
            exists: true,
            length: 7,
            entries_added: 10,
            last_generated: id(10),
            first_entry: Some(id(4)),
            ..StreamFacts::default()
        }
    }

    fn group(last_delivered: u64, reported_lag: Option<u64>) -> GroupFacts {
        GroupFacts { last_delivered: id(last_delivered), reported_lag, ..GroupFacts::default() }
    }

    fn server(version: &str) -> ServerInfo {
        ServerInfo { version: version.into(), name: "redis".into(), ..ServerInfo::default() }
    }

    fn exact(value: u64) -> Estimate {
        Estimate::Known(Lag::new(value, LagSource::Exact))
    }

    #[test]
    fn a_group_at_the_end_has_no_lag_whatever_the_server_reports() {
        assert_eq!(estimate(&stream(), &group(10, Some(6)), &server("7.0.15")), exact(0));
    }

    #[test]
    fn a_group_before_the_first_entry_lags_by_the_whole_stream() {
        assert_eq!(estimate(&stream(), &group(2, Some(8)), &server("7.0.15")), exact(7));
    }

    #[test]
    fn an_empty_stream_leaves_no_lag() {
        let empty = StreamFacts { length: 0, first_entry: None, ..stream() };
        assert_eq!(estimate(&empty, &group(5, None), &server("7.0.15")), exact(0));
    }

    #[test]
    fn a_group_ahead_of_the_stream_has_no_lag() {
        let ahead = estimate(&stream(), &group(11, None), &server("8.0.0"));
        assert_eq!(ahead, Estimate::Known(Lag::UNKNOWN));
        let empty = StreamFacts { length: 0, first_entry: None, ..stream() };
        assert_eq!(
            estimate(&empty, &group(11, None), &server("8.0.0")),
            Estimate::Known(Lag::UNKNOWN)
        );
    }

    #[test]
    fn only_the_report_of_a_server_with_true_lag_is_exact() {
        assert_eq!(estimate(&stream(), &group(6, Some(4)), &server("8.0.0")), exact(4));
        assert_eq!(estimate(&stream(), &group(6, Some(4)), &server("7.4.2")), Estimate::Count);
        assert_eq!(estimate(&stream(), &group(6, None), &server("8.0.0")), Estimate::Count);
    }

    #[test]
    fn a_large_reported_lag_is_passed_on_as_reported() {
        let reported = |lag| estimate(&stream(), &group(6, Some(lag)), &server("7.0.15"));
        assert_eq!(reported(1_000), Estimate::Count);
        assert_eq!(reported(1_001), Estimate::Known(Lag::new(1_001, LagSource::Reported)));
    }

    #[test]
    fn a_lag_shows_how_it_is_known() {
        let shown = [
            Lag::new(12, LagSource::Exact),
            Lag::new(12, LagSource::Counted),
            Lag::new(8_421, LagSource::Reported),
            Lag::new(1_000, LagSource::AtLeast),
            Lag::UNKNOWN,
        ]
        .map(|lag| lag.to_string());
        assert_eq!(shown, ["12", "12", "~8421", ">1000", "?"]);
    }

    #[test]
    fn a_mark_grows_with_what_is_added() {
        let mark = Mark::new(&stream(), &group(6, None), Lag::new(4, LagSource::Counted));
        let later =
            StreamFacts { length: 9, entries_added: 12, last_generated: id(12), ..stream() };
        assert_eq!(mark.undelivered(&later), Some(6));
    }

    #[test]
    fn a_mark_outlives_the_trimming_of_what_was_delivered_but_not_of_more() {
        let mark = Mark::new(&stream(), &group(6, None), Lag::new(4, LagSource::Counted));
        let trimmed =
            |first, length| StreamFacts { first_entry: Some(id(first)), length, ..stream() };
        assert_eq!(mark.undelivered(&trimmed(6, 5)), Some(4));
        assert_eq!(mark.undelivered(&trimmed(8, 3)), None);
    }

    #[test]
    fn a_mark_ends_with_a_deletion_past_its_position_and_with_another_stream() {
        let mark = Mark::new(&stream(), &group(6, None), Lag::new(4, LagSource::Counted));
        let deleted = StreamFacts { max_deleted: id(8), length: 6, ..stream() };
        assert_eq!(mark.undelivered(&deleted), None);
        let younger =
            StreamFacts { entries_added: 3, length: 3, first_entry: Some(id(1)), ..stream() };
        assert_eq!(mark.undelivered(&younger), None);
    }
}
