//! What a hard cap needs the user to be allowed, each tried in a form that changes nothing.

use redis::{Cmd, RedisResult, Value};

use crate::connect::SharedConnection;
use crate::error::Error;
use crate::names::StreamKey;
use crate::retention::Overflow;

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
    let (names, commands): (Vec<_>, Vec<_>) = needed(overflow, stream).into_iter().unzip();
    let (number, mut conn) = connection.open().await?;
    let mut pipe = redis::pipe();
    for command in commands {
        pipe.add_command(command);
    }
    let answers: RedisResult<Vec<RedisResult<Value>>> =
        pipe.ignore_errors().query_async(&mut conn).await;
    let answers = connection.judge(number, answers.map_err(failed))?;
    let refused = |answer: &RedisResult<Value>| {
        answer.as_ref().is_err_and(|error| error.code() == Some("NOPERM"))
    };
    let missing: Vec<_> =
        names.into_iter().zip(&answers).filter(|(_, a)| refused(a)).map(|(name, _)| name).collect();
    if !missing.is_empty() {
        return Err(Error::Rights { operation: OPERATION, stream: stream.clone(), missing });
    }
    match answers.into_iter().next() {
        Some(Ok(Value::Int(length))) => Ok(u64::try_from(length).unwrap_or(0)),
        Some(Err(source)) => Err(failed(source)),
        _ => Err(Error::Reply { operation: OPERATION, stream: stream.clone(), missing: "length" }),
    }
}

/// The commands and what they are called in errors; the length first.
fn needed(overflow: Overflow, stream: &StreamKey) -> Vec<(&'static str, Cmd)> {
    let (key, losses) = (stream.as_str(), stream.lost_key());
    let command = |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command
    };
    let mut needed = vec![("XLEN", command(&["XLEN", key]))];
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
