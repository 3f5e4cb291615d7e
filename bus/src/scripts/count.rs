//! Counting the entries between two IDs.

use std::sync::LazyLock;

use eventbus_core::names::{EntryId, StreamKey};
use redis::{RedisResult, Value};

use crate::redis::Connection;
use crate::redis::reply::{Decoded, entry_id, list, number};
use crate::redis::script::{Call, Failure, Script, Words, call};

/// Range of a stream whose entries are counted.
pub(super) struct Arguments<'a> {
    pub stream: &'a StreamKey,
    /// ID before the first entry.
    pub after: EntryId,
    /// ID of the last entry, or one after it.
    pub last: EntryId,
    /// Maximum number of entries.
    pub max: u64,
}

impl Call for Arguments<'_> {
    /// Number of entries, and the ID of the last one.
    type Reply = (u64, Option<EntryId>);
    const OPERATION: &'static str = "count the entries";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> =
            LazyLock::new(|| Script::read_only(include_str!("count.lua")));
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("stream", self.stream);
        words.arg("after", self.after).arg("last", self.last).arg("max", self.max);
    }

    fn read(&self, reply: Value) -> Decoded<(u64, Option<EntryId>)> {
        let Some([entries, last]) = list(&reply) else { return Err("number of entries") };
        Ok((number(entries).ok_or("number of entries")?, entry_id(last)))
    }
}

/// Counts at most `max` entries after the first and up to the second ID. Returns their number and the last one's ID.
pub(crate) async fn count(
    conn: &mut Connection,
    stream: &StreamKey,
    (after, last): (EntryId, EntryId),
    max: u64,
) -> RedisResult<(u64, Option<EntryId>)> {
    call(conn, &Arguments { stream, after, last, max }).await.map_err(Failure::into_redis)
}
