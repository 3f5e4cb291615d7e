//! Permissions that publishing and enforcing a hard cap need.

use eventbus_core::names::StreamKey;
use eventbus_core::retention::Overflow;
use redis::Value;

use crate::error::Error;
use crate::redis::SharedConnection;
use crate::redis::permissions::{NO_NAME, NO_SCRIPT, Needed, Tried, command, try_all};

const OPERATION: &str = "enforce the hard cap";

/// Tries each command that the hard cap needs, and returns the stream's length.
///
/// # Errors
/// [`Error::MissingPermissions`] with every missing permission; Redis' error if the commands could not be tried or the key
/// holds something other than a stream.
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
        return Err(Error::MissingPermissions {
            operation: OPERATION,
            stream: stream.clone(),
            missing,
        });
    }
    match answers.into_iter().next() {
        Some(Ok(Value::Int(length))) => Ok(u64::try_from(length).unwrap_or(0)),
        Some(Err(source)) => Err(failed(source)),
        _ => Err(Error::Reply { operation: OPERATION, stream: stream.clone(), missing: "length" }),
    }
}

/// Lists the permissions that a rejected publisher is missing: XADD and, if `trims`, the trimming commands. Missing
/// only the latter is not an error; other publishers trim.
///
/// # Errors
/// Redis' error if the commands could not be tried.
pub(super) async fn missing(
    trims: bool,
    connection: &SharedConnection,
    stream: &StreamKey,
) -> Result<Vec<&'static str>, Error> {
    let key = stream.as_str();
    let mut needed = vec![xadd(key)];
    if trims {
        let declared = stream.groups_key();
        needed.extend([
            ("XLEN (to trim)", command(&["XLEN", key])),
            ("XTRIM (to trim)", command(&["XTRIM", key, "MINID", "0-0"])),
            ("XRANGE (to trim)", command(&["XRANGE", key, "+", "-", "COUNT", "1"])),
            ("XINFO STREAM (to trim)", command(&["XINFO", "STREAM", key])),
            ("XINFO GROUPS (to trim)", command(&["XINFO", "GROUPS", key])),
            ("XPENDING (to trim)", command(&["XPENDING", key, NO_NAME])),
            ("HGETALL on the hash of groups (to trim)", command(&["HGETALL", &declared])),
            ("EVAL (to trim)", command(&["EVAL", "return 0", "2", key, &declared])),
            ("EVALSHA (to trim)", command(&["EVALSHA", NO_SCRIPT, "2", key, &declared])),
        ]);
    }
    let (number, mut conn) = connection.open().await?;
    let failed = |source: redis::RedisError| Error::Stream {
        operation: super::OPERATION,
        stream: stream.clone(),
        source: source.into(),
    };
    let tried = try_all(&mut conn, needed).await;
    connection.judge(number, tried.map_err(failed)).map(|tried| tried.missing)
}

/// Returns an XADD with an ID that no entry can have: Redis refuses it after checking the permissions.
fn xadd(key: &str) -> Needed {
    ("XADD", command(&["XADD", key, "0-0", NO_NAME, ""]))
}

/// Returns the commands that the hard cap needs. The first reads the length.
fn needed(overflow: Overflow, stream: &StreamKey) -> Vec<Needed> {
    let (key, losses) = (stream.as_str(), stream.lost_key());
    let mut needed = vec![("XLEN", command(&["XLEN", key])), xadd(key)];
    if overflow == Overflow::DropOldest {
        needed.extend([
            ("XRANGE", command(&["XRANGE", key, "+", "-", "COUNT", "1"])),
            ("XTRIM", command(&["XTRIM", key, "MINID", "0-0"])),
            ("XINFO GROUPS", command(&["XINFO", "GROUPS", key])),
            ("XPENDING", command(&["XPENDING", key, NO_NAME])),
            ("XACK", command(&["XACK", key, NO_NAME, "0-0"])),
            // Redis parses the number after checking the permissions and before changing the hash.
            ("HINCRBY on the hash of losses", command(&["HINCRBY", &losses, NO_NAME, "none"])),
            ("EVAL", command(&["EVAL", "return 0", "2", key, &losses])),
            ("EVALSHA", command(&["EVALSHA", NO_SCRIPT, "2", key, &losses])),
        ]);
    }
    needed
}
