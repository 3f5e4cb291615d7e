//! Consumer groups: where one starts, and creating it so that its lag is known from the first second.

use std::str::FromStr;
use std::sync::LazyLock;

use redis::Value;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;

use crate::error::Error;
use crate::names::{EntryId, GroupName, StreamKey};
use crate::script::Script;

/// Beyond so many entries after its start a new group's lag is left to be counted in pages.
const MOST_COUNTED: &str = "10000";
/// Bytes of entries that may be read on the server to count them while everybody else waits.
const MOST_BYTES: &str = "16777216";
const OPERATION: &str = "set the start";

static CREATE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/create_group.lua")));

/// Where a new group starts to read.
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

/// What creating a group came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupCreation {
    /// The group was missing and stands now.
    Created {
        /// It reads what comes after this entry: what [`Start`] came to.
        position: EntryId,
        /// The oldest entry that the stream keeps; later than asked for where the start was trimmed away.
        first_entry: Option<EntryId>,
        /// Whether there was no stream either: it stands now, empty, for others to see.
        stream_created: bool,
    },
    /// The group stood already; nothing was changed, the start that was asked for has no effect.
    Existed {
        /// It reads what comes after this entry.
        position: EntryId,
    },
}

impl Start {
    /// As the script takes it: a whole ID, or `$`.
    fn argument(self) -> String {
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

/// Creates `group`, and an empty `stream` where there is none, in one script; a group that exists stays as it is.
///
/// # Errors
/// [`Error::Group`], with the code `WRONGTYPE` where the key holds something else than a stream.
pub async fn create(
    conn: &mut MultiplexedConnection,
    stream: &StreamKey,
    group: &GroupName,
    start: &Start,
) -> Result<GroupCreation, Error> {
    run(conn, stream, group, [&start.argument(), "0"]).await
}

/// As [`create`], but where the group's consumers once told how far it had come, it resumes there: a group that was
/// destroyed repeats what was in hand and loses nothing. `start` is for a group without a past, and for a server that
/// lost its data.
///
/// # Errors
/// As [`create`].
pub async fn restore(
    conn: &mut MultiplexedConnection,
    stream: &StreamKey,
    group: &GroupName,
    start: &Start,
) -> Result<GroupCreation, Error> {
    let mut resume = redis::cmd("HGET");
    resume.arg(stream.consumers_key(group)).arg("resume");
    let resume = match resume.query_async::<Option<Vec<u8>>>(conn).await {
        Ok(field) => field.and_then(|field| serde_json::from_slice(&field).ok()),
        // Who may not read it, or finds something else there, knows nothing of a past.
        Err(error) if matches!(error.code(), Some("NOPERM" | "WRONGTYPE")) => None,
        Err(error) => return Err(failed(stream, group, error)),
    };
    let position = resume.and_then(ResumePoint::position);
    let start = position.map_or(*start, Start::Id);
    // A stream that was made anew may end before.
    run(conn, stream, group, [&start.argument(), if position.is_some() { "1" } else { "0" }]).await
}

/// What the beats of a group's consumers tell of it.
#[derive(Deserialize)]
struct ResumePoint {
    before: Option<String>,
    after: Option<String>,
}

impl ResumePoint {
    /// What comes after this entry was not done.
    fn position(self) -> Option<EntryId> {
        match (self.before, self.after) {
            (Some(before), _) => before.parse().ok().map(EntryId::before),
            (None, after) => after?.parse().ok(),
        }
    }
}

async fn run(
    conn: &mut MultiplexedConnection,
    stream: &StreamKey,
    group: &GroupName,
    [start, within]: [&str; 2],
) -> Result<GroupCreation, Error> {
    let args = [group.as_str(), start, MOST_COUNTED, MOST_BYTES, within];
    let reply = CREATE.call(conn, &[stream.as_str()], &args).await;
    created(&reply.map_err(|source| failed(stream, group, source))?).ok_or_else(|| Error::Reply {
        operation: OPERATION,
        stream: stream.clone(),
        missing: "position",
    })
}

fn failed(stream: &StreamKey, group: &GroupName, source: redis::RedisError) -> Error {
    let (stream, group) = (stream.clone(), group.clone());
    Error::Group { operation: OPERATION, stream, group, source: source.into() }
}

fn created(reply: &Value) -> Option<GroupCreation> {
    let Value::Array(fields) = reply else { return None };
    match fields.as_slice() {
        [Value::Int(0), position] => Some(GroupCreation::Existed { position: entry_id(position)? }),
        [Value::Int(1), position, first, Value::Int(stream_created)] => {
            Some(GroupCreation::Created {
                position: entry_id(position)?,
                first_entry: entry_id(first),
                stream_created: *stream_created == 1,
            })
        }
        _ => None,
    }
}

/// The entry ID in a reply; `None` for nil and for anything else.
pub(crate) fn entry_id(value: &Value) -> Option<EntryId> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
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
