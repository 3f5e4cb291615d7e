//! Start of a consumer group, and the point where a lost one resumes.

use std::str::FromStr;

use serde::Deserialize;

use crate::names::EntryId;

/// Start of a new group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this entry; `0` is everything that the stream keeps.
    Id(EntryId),
    /// After whatever the stream's last entry is when the group is created: what came before is not read.
    Latest,
    /// At the first entry of this time or later, by the entry IDs' clock.
    Time(jiff::Timestamp),
}

/// A text that is no start. The message shows it and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} must be 0, $, an entry ID such as 1700000000000-0, or a time such as 2026-01-31T08:00:00Z"
)]
pub struct StartError(pub String);

/// Result of creating a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupCreation {
    /// The group was missing and stands now.
    Created {
        /// It reads what comes after this entry: what [`Start`] came to.
        position: EntryId,
        /// The oldest entry that the stream keeps; later than asked for where the start was trimmed away.
        first_entry: Option<EntryId>,
        /// `true` if the stream was created too, empty, for others to see.
        stream_created: bool,
    },
    /// The group stood already; nothing was changed, the start that was asked for has no effect.
    Existed {
        /// It reads what comes after this entry.
        position: EntryId,
    },
}

impl Start {
    /// Writes the start as the script takes it: a whole ID, or `$`.
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

/// The beginning of what the stream keeps: `0`.
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

/// Field `resume` of the consumers' hash: how far the group had come when a consumer last wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ResumePoint {
    before: Option<String>,
    after: Option<String>,
}

impl ResumePoint {
    /// Returns the entry after which nothing is known to be done; `None` where the field says nothing.
    #[must_use]
    pub fn position(self) -> Option<EntryId> {
        match (self.before, self.after) {
            (Some(before), _) => before.parse().ok().map(EntryId::before),
            (None, after) => after?.parse().ok(),
        }
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
            ("1970-01-01T00:00:02Z", Start::Time(jiff::Timestamp::new(2, 0).unwrap())),
            ("1970-01-01T02:00:02+02:00", Start::Time(jiff::Timestamp::new(2, 0).unwrap())),
        ];
        for (text, start) in cases {
            assert_eq!(text.parse(), Ok(start), "{text}");
        }
    }

    #[test]
    fn what_is_no_start_is_refused_with_what_is_allowed() {
        for text in ["", "-1", "latest", "1-2-3", "2026-01-31", "yesterday"] {
            assert_eq!(text.parse::<Start>(), Err(StartError(text.into())), "{text}");
        }
        let message = "latest".parse::<Start>().unwrap_err().to_string();
        assert!(message.starts_with(r#""latest" must be 0, $, an entry ID"#), "{message}");
    }

    #[test]
    fn a_time_starts_just_before_its_first_millisecond() {
        let time = |ms| Start::Time(jiff::Timestamp::from_millisecond(ms).unwrap()).argument();
        assert_eq!(time(2000), "1999-18446744073709551615");
        assert_eq!(time(0), "0-0");
        assert_eq!(time(-5), "0-0");
    }

    #[test]
    fn a_group_resumes_before_its_oldest_pending_entry_else_after_the_last_delivered() {
        let position = |json: &str| {
            serde_json::from_str::<ResumePoint>(json).ok().and_then(ResumePoint::position)
        };
        let before = EntryId { ms: 4, seq: u64::MAX };
        assert_eq!(position(r#"{"v":1,"before":"5-0"}"#), Some(before));
        assert_eq!(position(r#"{"v":1,"after":"5-0"}"#), Some(EntryId { ms: 5, seq: 0 }));
        assert_eq!(position(r#"{"v":1}"#), None);
        assert_eq!(position(r#"{"v":1,"after":"soon"}"#), None);
        assert_eq!(position("[]"), None);
    }
}
