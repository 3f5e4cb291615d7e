//! Start of a consumer group, and the point where a lost one resumes.

use std::cmp::Reverse;
use std::str::FromStr;

use jiff::Timestamp;
use serde::Deserialize;

use crate::names::EntryId;

/// Start of a new group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this entry; [`EntryId::ZERO`] is before all entries of the stream.
    Id(EntryId),
    /// After the last entry of the stream when the group is created (`$`); earlier entries are skipped.
    Latest,
    /// At the first entry of this time or later, by the time in the entry IDs.
    Time(Timestamp),
}

/// Malformed start. The message has the text and the allowed forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} must be 0, $, an entry ID such as 1700000000000-0, or a time such as 2026-01-31T08:00:00Z"
)]
pub struct StartError(pub String);

/// Result of creating a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupCreation {
    /// The group was missing and was created.
    Created {
        /// The group reads the entries after this one, resolved from [`Start`].
        position: EntryId,
        /// The oldest entry of the stream; later than the start if entries were trimmed.
        first_entry: Option<EntryId>,
        /// `true` if the stream was missing too; it was created, empty.
        stream_created: bool,
    },
    /// The group existed; nothing was changed, and the start has no effect.
    Existed {
        /// The group reads the entries after this one.
        position: EntryId,
    },
}

impl Start {
    /// Formats the start as the script's argument: a whole ID, or `$`.
    #[must_use]
    pub fn argument(self) -> String {
        match self {
            Self::Id(id) => id.to_string(),
            Self::Latest => "$".to_owned(),
            Self::Time(time) => {
                let ms = u64::try_from(time.as_millisecond()).unwrap_or(0);
                EntryId { ms, seq: 0 }.before().to_string()
            }
        }
    }
}

/// Start before the oldest entry of the stream: `0`.
impl Default for Start {
    fn default() -> Self {
        Self::Id(EntryId::ZERO)
    }
}

impl FromStr for Start {
    type Err = StartError;

    fn from_str(text: &str) -> Result<Self, StartError> {
        if text == "$" {
            return Ok(Self::Latest);
        }
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        text.parse().map(Self::Time).map_err(|_| StartError(text.to_owned()))
    }
}

/// Point where a lost group resumes, with the time when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The entry after which entries may be unfinished.
    pub position: EntryId,
    /// Time of the write, by the server's clock; `None` where it is unknown, which counts as older than any other.
    pub at: Option<Timestamp>,
}

impl ResumePoint {
    /// Reads the field `resume` of the consumers' hash; `None` if it has no valid position.
    #[must_use]
    pub fn parse(field: &[u8]) -> Option<Self> {
        let stored: StoredResumePoint = serde_json::from_slice(field).ok()?;
        let position = match (stored.before, stored.after) {
            (Some(before), _) => before.parse().ok().map(EntryId::before),
            (None, after) => after?.parse().ok(),
        }?;
        let ms = stored.at.as_ref().and_then(serde_json::Value::as_i64);
        Some(Self { position, at: ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()) })
    }
}

/// JSON of the field `resume`: the oldest pending entry, else the last delivered one.
#[derive(Deserialize)]
struct StoredResumePoint {
    before: Option<String>,
    after: Option<String>,
    at: Option<serde_json::Value>,
}

/// Facts about a group that is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MissingGroup {
    /// Declared start.
    pub start: Start,
    /// `true` if the group is known to have existed.
    pub lost: bool,
    /// Resume point that the group's consumers wrote to the consumers' hash.
    pub from_consumers: Option<ResumePoint>,
    /// Resume point that the caller recorded, in the same data set.
    pub from_caller: Option<ResumePoint>,
}

/// Place where a missing group is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At the start that was declared.
    Start(Start),
    /// At a resume point; at the stream's last entry where the stream ends before it.
    Resume {
        /// After this entry.
        position: EntryId,
        /// Writer of the resume point.
        source: ResumeSource,
    },
}

/// Writer of a resume point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeSource {
    /// The consumers of the group, by their heartbeats.
    Consumers,
    /// The caller, such as the operator in the status of a resource.
    Caller,
}

/// Returns the place where a missing group is created: at the fresher of its resume points, else at its declared start.
///
/// Of two points of the same time the earlier position is taken: that costs repeats, the later one could skip events. A
/// group that existed never starts at the stream's end, for the same reason: without a resume point, [`Start::Latest`]
/// is the beginning of what the stream keeps.
#[must_use]
pub fn place(missing: &MissingGroup) -> Placement {
    let of = |point: Option<ResumePoint>, source| point.map(|point| (point, source));
    let points = [
        of(missing.from_consumers, ResumeSource::Consumers),
        of(missing.from_caller, ResumeSource::Caller),
    ];
    let freshest =
        points.into_iter().flatten().max_by_key(|(point, _)| (point.at, Reverse(point.position)));
    match (freshest, missing.start) {
        (Some((point, source)), _) => Placement::Resume { position: point.position, source },
        (None, Start::Latest) if missing.lost => Placement::Start(Start::default()),
        (None, start) => Placement::Start(start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_zero_the_end_an_entry_or_a_time() {
        let cases = [
            ("0", Start::Id(EntryId::ZERO)),
            ("$", Start::Latest),
            ("17", Start::Id(EntryId { ms: 17, seq: 0 })),
            ("17-3", Start::Id(EntryId { ms: 17, seq: 3 })),
            ("1970-01-01T00:00:02Z", Start::Time(Timestamp::new(2, 0).unwrap())),
            ("1970-01-01T02:00:02+02:00", Start::Time(Timestamp::new(2, 0).unwrap())),
        ];
        for (text, start) in cases {
            assert_eq!(text.parse(), Ok(start), "{text}");
        }
    }

    #[test]
    fn a_malformed_start_is_refused_with_the_allowed_forms() {
        for text in ["", "-1", "latest", "1-2-3", "2026-01-31", "yesterday"] {
            assert_eq!(text.parse::<Start>(), Err(StartError(text.into())), "{text}");
        }
        let message = "latest".parse::<Start>().unwrap_err().to_string();
        assert!(message.starts_with(r#""latest" must be 0, $, an entry ID"#), "{message}");
    }

    #[test]
    fn a_time_starts_just_before_its_first_millisecond() {
        let argument = |ms| Start::Time(time(ms)).argument();
        assert_eq!(argument(2000), "1999-18446744073709551615");
        assert_eq!(argument(0), "0-0");
        assert_eq!(argument(-5), "0-0");
    }

    fn time(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    #[test]
    fn a_group_resumes_before_its_oldest_pending_entry_else_after_the_last_delivered() {
        let before = EntryId { ms: 4, seq: u64::MAX };
        let point = |position, at| Some(ResumePoint { position, at });
        let cases = [
            (r#"{"v":1,"at":9,"before":"5-0"}"#, point(before, Some(time(9)))),
            (r#"{"v":1,"at":9,"after":"5-0"}"#, point(id(5), Some(time(9)))),
            (r#"{"v":1,"after":"5-0"}"#, point(id(5), None)),
            (r#"{"at":"yesterday","after":"5-0"}"#, point(id(5), None)),
            (r#"{"v":1,"at":9}"#, None),
            (r#"{"v":1,"at":9,"after":"soon"}"#, None),
            ("[]", None),
        ];
        for (field, expected) in cases {
            assert_eq!(ResumePoint::parse(field.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn a_group_without_a_resume_point_is_created_at_its_start_and_a_lost_one_never_at_the_end() {
        let cases = [
            (Start::Latest, false, Start::Latest),
            (Start::Latest, true, Start::Id(EntryId::ZERO)),
            (Start::Id(id(5)), false, Start::Id(id(5))),
            (Start::Id(id(5)), true, Start::Id(id(5))),
            (Start::Time(time(7)), true, Start::Time(time(7))),
        ];
        for (start, lost, expected) in cases {
            let missing = MissingGroup { start, lost, ..MissingGroup::default() };
            assert_eq!(place(&missing), Placement::Start(expected), "{missing:?}");
        }
    }

    #[test]
    fn a_group_is_created_at_the_fresher_of_two_resume_points_whatever_its_start() {
        use ResumeSource::{Caller, Consumers};
        let point = |ms, at: Option<i64>| Some(ResumePoint { position: id(ms), at: at.map(time) });
        let cases = [
            (point(3, Some(10)), None, (3, Consumers)),
            (None, point(3, Some(10)), (3, Caller)),
            (point(3, Some(10)), point(7, Some(11)), (7, Caller)),
            (point(3, Some(11)), point(7, Some(10)), (3, Consumers)),
            (point(7, Some(11)), point(3, Some(10)), (7, Consumers)),
            (point(7, Some(10)), point(3, Some(10)), (3, Caller)),
            (point(3, Some(10)), point(7, Some(10)), (3, Consumers)),
            (point(7, None), point(3, Some(10)), (3, Caller)),
            (point(7, Some(10)), point(3, None), (7, Consumers)),
            (point(7, None), point(3, None), (3, Caller)),
        ];
        for (from_consumers, from_caller, (position, source)) in cases {
            for (start, lost) in
                [(Start::Latest, true), (Start::Latest, false), (Start::Id(id(1)), true)]
            {
                let missing = MissingGroup { start, lost, from_consumers, from_caller };
                let expected = Placement::Resume { position: id(position), source };
                assert_eq!(place(&missing), expected, "{missing:?}");
            }
        }
    }
}
