//! Trimming what every group has finished.

use std::sync::LazyLock;
use std::time::Duration;

use eventbus_core::names::StreamKey;
use eventbus_core::retention::SLACK;
use eventbus_core::time::millis;
use redis::Value;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::{Decoded, list, number, text};
use crate::redis::script::{Call, Script, Words, call};

/// Maximum number of entries that one script removes: it blocks all other clients meanwhile.
pub(crate) const MAX_REMOVED: u64 = 10_000;

/// A stream to trim.
pub(super) struct Arguments<'a> {
    pub stream: &'a StreamKey,
    /// Entries to keep.
    pub keep: u64,
    /// Time for which a missing group without owner holds trimming back.
    pub missing_hold: Duration,
}

/// Result of trimming.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Entries that were removed.
    pub removed: u64,
    /// Entries that are left.
    pub length: u64,
    /// Reason why nothing was removed of 200 or more entries beyond `keep`; `None` if something was.
    pub hold: Option<TrimHold>,
    /// Declared groups without owner that have been missing for too long to hold trimming back; backslashes, and names that
    /// are not UTF-8, are escaped.
    pub released: Vec<String>,
}

/// Reason why entries are not trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrimHold {
    /// The stream has no group: no consumer could have read the entries.
    NoGroup,
    /// A declared group is missing.
    Missing {
        /// Its name; backslashes, and a name that is not UTF-8, are escaped.
        group: String,
    },
    /// A group's position is after the last entry ever added: it belongs to another stream of this name.
    Ahead {
        /// Its name; backslashes, and a name that is not UTF-8, are escaped.
        group: String,
    },
    /// A group has not acknowledged entries beyond `keep`.
    Behind {
        /// Its name; backslashes, and a name that is not UTF-8, are escaped.
        group: String,
        /// Number of entries beyond `keep`.
        entries: u64,
    },
    /// The finished entries share a node of the stream with others, and the user has no permission for `XRANGE`, which
    /// removing them one by one needs.
    Node {
        /// Number of entries beyond `keep`.
        entries: u64,
        /// Mean number of entries in a node; its maximum is the server's `stream-node-max-entries`.
        node: u64,
    },
}

impl Call for Arguments<'_> {
    type Reply = Trimmed;
    const OPERATION: &'static str = "trim";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("common/reply.lua"),
                include_str!("common/id.lua"),
                include_str!("common/declaration.lua"),
                include_str!("common/page.lua"),
                include_str!("trim.lua")
            ))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("stream", self.stream).key("groups", self.stream.groups_key());
        words.arg("keep", self.keep).arg("slack", SLACK);
        words.arg("max_removed", MAX_REMOVED).arg("missing_hold", millis(self.missing_hold));
    }

    fn read(&self, reply: Value) -> Decoded<Trimmed> {
        trimmed(&reply, self.keep).ok_or("number of entries")
    }
}

fn trimmed(reply: &Value, keep: u64) -> Option<Trimmed> {
    let [removed, length, reason, subject, released] = list(reply)? else { return None };
    let released = list(released)?.iter().map(text).collect::<Option<_>>()?;
    let (removed, length) = (number(removed)?, number(length)?);
    let entries = length.saturating_sub(keep);
    let hold = match (text(reason).as_deref(), text(subject)) {
        (Some("no-groups"), _) => Some(TrimHold::NoGroup),
        (Some("missing"), Some(group)) => Some(TrimHold::Missing { group }),
        (Some("ahead"), Some(group)) => Some(TrimHold::Ahead { group }),
        (Some("behind"), Some(group)) => Some(TrimHold::Behind { group, entries }),
        (Some("node"), _) => Some(TrimHold::Node { entries, node: number(subject)? }),
        _ => None,
    };
    Some(Trimmed { removed, length, hold, released })
}

/// Removes entries that every group has acknowledged, down to `keep` entries, in one script; at most 10,000 of them.
///
/// Whole nodes of the stream are removed; where there is none, and 200 entries or more could go, these are removed one by
/// one, at most 1,000 of them. After a call that removed nothing and has no [`TrimHold::Node`], fewer than 200 finished
/// entries beyond `keep` are left.
///
/// Nothing is removed while there is no group, a declared group is missing, or a group is ahead of the stream. A missing group
/// that no resource owns holds trimming back for `missing_hold` only, by the server's clock, from when this script
/// first found it missing.
///
/// # Errors
/// [`Error::Stream`], with the code `NOPERM` without permission to trim.
pub async fn trim(
    conn: &mut Connection,
    stream: &StreamKey,
    keep: u64,
    missing_hold: Duration,
) -> Result<Trimmed, Error> {
    let trimmed = call(conn, &Arguments { stream, keep, missing_hold }).await;
    trimmed.map_err(|failure| failure.on_stream(stream))
}
