//! Trimming what every group has finished.

use std::sync::LazyLock;

use crate::redis::Connection;
use redis::Value;

use crate::error::Error;
use crate::redis::reply::{number, text};
use crate::redis::script::Script;
use eventbus_core::names::StreamKey;
use eventbus_core::retention::SLACK;

/// One script removes no more: everybody else waits for it.
pub(crate) const MAX_REMOVED: u64 = 10_000;

static TRIM: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("trim.lua")));

/// Result of trimming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Entries that were removed.
    pub removed: u64,
    /// Entries that are left.
    pub length: u64,
    /// Reason why more than the target is left although nothing was removed; `None` if that is not the case.
    pub held_by: Option<HeldBy>,
}

/// Obstacle that keeps finished entries from being trimmed.
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

/// Removes entries that every group has acknowledged, down to `keep` entries, in one script; at most 10,000 of them.
///
/// Whole nodes are removed, of 100 entries by default, so that up to two nodes more than `keep` are left. Nothing is
/// removed while there is no group, a declared group is missing, or a group is ahead of the stream.
///
/// # Errors
/// [`Error::Stream`], with the code `NOPERM` where the user may not trim.
pub async fn trim(conn: &mut Connection, stream: &StreamKey, keep: u64) -> Result<Trimmed, Error> {
    const OPERATION: &str = "trim";
    let args = [keep.to_string(), MAX_REMOVED.to_string()];
    let keys = [stream.as_str(), &stream.groups_key()];
    let reply = TRIM
        .call(conn, &keys, &args.each_ref().map(String::as_str))
        .await
        .map_err(|source| failed(OPERATION, stream, source))?;
    trimmed(&reply, keep).ok_or_else(|| unknown(OPERATION, stream))
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
