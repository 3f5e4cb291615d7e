//! The two scripts that remove entries: one what is finished, the other what is oldest.

use std::sync::LazyLock;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::SLACK;
use crate::error::Error;
use crate::names::StreamKey;
use crate::script::Script;

/// One script removes no more: everybody else waits for it.
pub(super) const MOST_REMOVED: u64 = 10_000;

static TRIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("../scripts/trim.lua")));
static DROP: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("../scripts/drop_oldest.lua")));

/// What trimming came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Entries that were removed.
    pub removed: u64,
    /// Entries that are left.
    pub length: u64,
    /// Why more than was to be kept is left although nothing was removed; `None` where that is not so.
    pub held_by: Option<HeldBy>,
}

/// What keeps finished entries from being trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// There is no group: nobody could have read them.
    NoGroup,
    /// A group that a resource declares is not there yet.
    Missing {
        /// Its name; bytes that are no text are escaped.
        group: String,
    },
    /// A group stands past the last entry ever added: it was made for another stream of this name.
    Ahead {
        /// Its name; bytes that are no text are escaped.
        group: String,
    },
    /// A group has not acknowledged the oldest entries.
    Behind {
        /// Its name; bytes that are no text are escaped.
        group: String,
        /// Entries beyond what is to be kept.
        entries: u64,
    },
}

/// What dropping the oldest entries came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Entries that were dropped.
    pub removed: u64,
    /// Entries that are left.
    pub length: u64,
    /// What each group lost: entries that it had not acknowledged. Groups that lost nothing are left out.
    pub lost: Vec<(String, u64)>,
    /// Why the losses could not be added to the hash `P:ecg:lost`.
    pub problem: Option<String>,
}

/// Removes entries that every group has acknowledged, down to `keep` entries, in one script; at most 10,000 of them.
///
/// Whole nodes are removed, of 100 entries by default, so that up to two nodes more than `keep` are left. Nothing is
/// removed while there is no group, a declared group is missing, or a group is ahead of the stream.
///
/// # Errors
/// [`Error::Stream`], with the code `NOPERM` where the user may not trim.
pub async fn trim(
    conn: &mut MultiplexedConnection,
    stream: &StreamKey,
    keep: u64,
) -> Result<Trimmed, Error> {
    const OPERATION: &str = "trim";
    let args = [keep.to_string(), MOST_REMOVED.to_string()];
    let keys = [stream.as_str(), &stream.groups_key()];
    let reply = TRIM
        .call(conn, &keys, &args.each_ref().map(String::as_str))
        .await
        .map_err(|source| failed(OPERATION, stream, source))?;
    trimmed(&reply, keep).ok_or_else(|| unknown(OPERATION, stream))
}

/// Drops the `count` oldest entries of a stream of at least `from`, acknowledged or not, in one script, which adds what each group lost to the hash
/// `P:ecg:lost` and takes it off the groups' pending lists. Nothing is dropped of a stream with no more than `count`.
///
/// Whole nodes are dropped, so that it may be fewer.
///
/// # Errors
/// [`Error::Stream`], with the code `NOPERM` where the user may not do that.
pub async fn drop_oldest(
    conn: &mut MultiplexedConnection,
    stream: &StreamKey,
    count: u64,
    from: u64,
) -> Result<Dropped, Error> {
    const OPERATION: &str = "drop the oldest entries";
    let keys = [stream.as_str(), &stream.lost_key()];
    let reply = DROP
        .call(conn, &keys, &[&count.to_string(), &from.to_string()])
        .await
        .map_err(|source| failed(OPERATION, stream, source))?;
    dropped(&reply).ok_or_else(|| unknown(OPERATION, stream))
}

fn failed(operation: &'static str, stream: &StreamKey, source: redis::RedisError) -> Error {
    Error::Stream { operation, stream: stream.clone(), source: source.into() }
}

fn unknown(operation: &'static str, stream: &StreamKey) -> Error {
    Error::Reply { operation, stream: stream.clone(), missing: "number of entries" }
}

fn trimmed(reply: &Value, keep: u64) -> Option<Trimmed> {
    let Value::Array(fields) = reply else { return None };
    let [removed, length, reason, group] = fields.as_slice() else { return None };
    let (removed, length) = (number(removed)?, number(length)?);
    let entries = length.saturating_sub(keep);
    let held_by = match (text(reason).as_deref(), text(group)) {
        (Some("no-groups"), _) => Some(HeldBy::NoGroup),
        (Some("missing"), Some(group)) => Some(HeldBy::Missing { group }),
        (Some("ahead"), Some(group)) => Some(HeldBy::Ahead { group }),
        // Less than that is left in any case.
        (Some("behind"), Some(group)) if entries >= SLACK => {
            Some(HeldBy::Behind { group, entries })
        }
        _ => None,
    };
    Some(Trimmed { removed, length, held_by })
}

fn dropped(reply: &Value) -> Option<Dropped> {
    let Value::Array(fields) = reply else { return None };
    let [removed, length, Value::Array(counts), problem] = fields.as_slice() else { return None };
    let lost = |pair: &[Value]| Some((text(&pair[0])?, number(&pair[1])?));
    Some(Dropped {
        removed: number(removed)?,
        length: number(length)?,
        lost: counts.chunks_exact(2).map(lost).collect::<Option<_>>()?,
        problem: text(problem),
    })
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    let Value::BulkString(bytes) = value else { return None };
    let escaped = || bytes.escape_ascii().to_string();
    Some(std::str::from_utf8(bytes).map_or_else(|_| escaped(), ToOwned::to_owned))
}
