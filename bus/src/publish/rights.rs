//! What a hard cap needs the user to be allowed.

use redis::Value;

use crate::connect::SharedConnection;
use crate::error::Error;
use crate::names::StreamKey;
use crate::retention::Overflow;
use crate::rights::{Needed, Tried, command, try_all};

const OPERATION: &str = "keep the hard cap";

/// Tries each command, and answers the stream's length.
///
/// # Errors
/// [`Error::Rights`] with all that is missing; what Redis answered where it did not come to trying, or where the key is
/// no stream.
pub(super) async fn check(
    overflow: Overflow,
    connection: &SharedConnection,
    stream: &StreamKey,
) -> Result<u64, Error> {
    let failed = |source: redis::RedisError| Error::Stream {
        operation: OPERATION,
        stream: stream.clone(),
        source: source.into(),
    };
    let (number, mut conn) = connection.open().await?;
    let tried = try_all(&mut conn, needed(overflow, stream)).await;
    let Tried { missing, answers } = connection.judge(number, tried.map_err(failed))?;
    if !missing.is_empty() {
        return Err(Error::Rights { operation: OPERATION, stream: stream.clone(), missing });
    }
    match answers.into_iter().next() {
        Some(Ok(Value::Int(length))) => Ok(u64::try_from(length).unwrap_or(0)),
        Some(Err(source)) => Err(failed(source)),
        _ => Err(Error::Reply { operation: OPERATION, stream: stream.clone(), missing: "length" }),
    }
}

/// The length comes first.
fn needed(overflow: Overflow, stream: &StreamKey) -> Vec<Needed> {
    let (key, losses) = (stream.as_str(), stream.lost_key());
    let mut needed = vec![
        ("XLEN", command(&["XLEN", key])),
        // No entry can have this ID: the command is refused after the rights were looked at.
        ("XADD", command(&["XADD", key, "0-0", "ecg", ""])),
    ];
    if overflow == Overflow::DropOldest {
        let hash = "0000000000000000000000000000000000000000";
        needed.extend([
            ("XRANGE", command(&["XRANGE", key, "+", "-", "COUNT", "1"])),
            ("XTRIM", command(&["XTRIM", key, "MINID", "0-0"])),
            ("XINFO GROUPS", command(&["XINFO", "GROUPS", key])),
            ("XPENDING", command(&["XPENDING", key, "ecg"])),
            ("XACK", command(&["XACK", key, "ecg", "0-0"])),
            // The number is looked at before the hash, and after the rights.
            ("HINCRBY on the hash of losses", command(&["HINCRBY", &losses, "ecg", "none"])),
            ("EVAL", command(&["EVAL", "return 0", "2", key, &losses])),
            ("EVALSHA", command(&["EVALSHA", hash, "2", key, &losses])),
        ]);
    }
    needed
}
