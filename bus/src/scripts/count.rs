//! Counting the entries between two IDs.

use std::sync::LazyLock;

use crate::redis::Connection;
use eventbus_core::names::{EntryId, StreamKey};
use redis::RedisResult;

use crate::redis::script::Script;

static COUNT: LazyLock<Script> = LazyLock::new(|| Script::read_only(include_str!("count.lua")));

/// Counts at most `limit` entries after the first and up to the second ID. Returns their number and the last one's ID.
pub(crate) async fn count(
    conn: &mut Connection,
    stream: &StreamKey,
    (after, until): (EntryId, EntryId),
    limit: u64,
) -> RedisResult<(u64, Option<EntryId>)> {
    let args = [after.to_string(), until.to_string(), limit.to_string()];
    let args = args.each_ref().map(String::as_str);
    let reply = COUNT.call(conn, &[stream.as_str()], &args).await?;
    let (count, last): (u64, Option<String>) = redis::from_redis_value(reply)?;
    Ok((count, last.and_then(|id| id.parse().ok())))
}
