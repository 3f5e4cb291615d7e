//! Dropping the oldest entries of a stream that is over its cap.

use std::sync::LazyLock;

use crate::redis::Connection;
use redis::Value;

use crate::error::Error;
use crate::redis::reply::{number, text};
use crate::redis::script::Script;
use eventbus_core::names::StreamKey;

static DROP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("drop_oldest.lua")));

/// Result of dropping the oldest entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Entries that were dropped.
    pub removed: u64,
    /// Entries that are left.
    pub length: u64,
    /// Losses by group: entries that it had not acknowledged. Groups that lost nothing are left out.
    pub lost: Vec<(String, u64)>,
    /// Reason why the losses could not be added to the hash `P:eventbus:lost`.
    pub problem: Option<String>,
}

/// Drops the `count` oldest entries of a stream of at least `from`, acknowledged or not, in one script, which adds what each group lost to the hash
/// `P:eventbus:lost` and takes it off the groups' pending lists. Nothing is dropped of a stream with no more than `count`.
///
/// Whole nodes are dropped, so that it may be fewer.
///
/// # Errors
/// [`Error::Stream`], with the code `NOPERM` where the user may not do that.
pub async fn drop_oldest(
    conn: &mut Connection,
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
