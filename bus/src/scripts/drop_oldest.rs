//! Dropping the oldest entries of a full stream.

use std::sync::LazyLock;

use eventbus_core::names::StreamKey;
use redis::Value;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::{Decoded, list, number, text};
use crate::redis::script::{Call, Script, Words, call};

/// Entries to drop.
pub(super) struct Arguments<'a> {
    pub stream: &'a StreamKey,
    /// Number of entries.
    pub count: u64,
    /// Minimum length of the stream to drop any: another publisher may have made room meanwhile.
    pub min_length: u64,
}

/// Result of dropping the oldest entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Number of entries that were dropped.
    pub removed: u64,
    /// Number of entries that are left.
    pub length: u64,
    /// Losses by group: entries that it had not acknowledged. Groups that lost nothing are left out.
    pub lost: Vec<(String, u64)>,
    /// Reason why the losses could not be added to the hash `P:eventbus:lost`.
    pub problem: Option<String>,
}

impl Call for Arguments<'_> {
    type Reply = Dropped;
    const OPERATION: &'static str = "drop the oldest entries";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("common/reply.lua"),
                include_str!("common/id.lua"),
                include_str!("common/page.lua"),
                include_str!("drop_oldest.lua")
            ))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("stream", self.stream).key("losses", self.stream.lost_key());
        words.arg("count", self.count).arg("min_length", self.min_length);
    }

    fn read(&self, reply: Value) -> Decoded<Dropped> {
        dropped(&reply).ok_or("number of entries")
    }
}

fn dropped(reply: &Value) -> Option<Dropped> {
    let [removed, length, Value::Array(counts), problem] = list(reply)? else { return None };
    let lost = |pair: &[Value]| Some((text(&pair[0])?, number(&pair[1])?));
    Some(Dropped {
        removed: number(removed)?,
        length: number(length)?,
        lost: counts.chunks_exact(2).map(lost).collect::<Option<_>>()?,
        problem: text(problem),
    })
}

/// Drops the `count` oldest entries of a stream of at least `from` entries, acknowledged or not, in one script. It also
/// acknowledges them in every group, and adds the losses of each group to the hash `P:eventbus:lost`. Drops nothing if
/// the stream has no more than `count` entries.
///
/// Whole nodes are dropped, so the number may be smaller.
///
/// # Errors
/// [`Error::Stream`], with the code `NOPERM` without permission.
pub async fn drop_oldest(
    conn: &mut Connection,
    stream: &StreamKey,
    count: u64,
    from: u64,
) -> Result<Dropped, Error> {
    let dropped = call(conn, &Arguments { stream, count, min_length: from }).await;
    dropped.map_err(|failure| failure.on_stream(stream))
}
