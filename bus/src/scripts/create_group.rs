//! Creating a consumer group so that its lag is known from the first second.

use std::sync::LazyLock;

use crate::redis::Connection;
use eventbus_core::group::{GroupCreation, ResumePoint, Start};
use eventbus_core::names::{GroupName, StreamKey};
use redis::Value;

use crate::error::Error;
use crate::redis::reply::entry_id;
use crate::redis::script::Script;

/// Beyond so many entries after its start a new group's lag is left to be counted in pages.
const MAX_COUNTED: &str = "10000";
/// Bytes of entries that may be read on the server to count them while everybody else waits.
const MOST_BYTES: &str = "16777216";
const OPERATION: &str = "set the start";

static CREATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("create_group.lua")));

/// Creates `group`, and an empty `stream` where there is none, in one script; a group that exists stays as it is.
///
/// # Errors
/// [`Error::Group`], with the code `WRONGTYPE` where the key holds something else than a stream.
pub async fn create(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
    start: &Start,
) -> Result<GroupCreation, Error> {
    run(conn, stream, group, [&start.argument(), "0"]).await
}

/// As [`create`], but where the group's consumers once told how far it had come, it resumes there: a group that was
/// destroyed repeats what was in flight and loses nothing. `start` is for a group without a past, and for a server that
/// lost its data.
///
/// # Errors
/// As [`create`].
pub async fn restore(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
    start: &Start,
) -> Result<GroupCreation, Error> {
    let mut resume = redis::cmd("HGET");
    resume.arg(stream.consumers_key(group)).arg("resume");
    let resume = match resume.query_async::<Option<Vec<u8>>>(conn).await {
        Ok(field) => field.and_then(|field| serde_json::from_slice(&field).ok()),
        // Who may not read it, or finds something else there, knows nothing of a past.
        Err(error) if matches!(error.code(), Some("NOPERM" | "WRONGTYPE")) => None,
        Err(error) => return Err(failed(stream, group, error)),
    };
    let position = resume.and_then(ResumePoint::position);
    let start = position.map_or(*start, Start::Id);
    // A stream that was made anew may end before.
    run(conn, stream, group, [&start.argument(), if position.is_some() { "1" } else { "0" }]).await
}

async fn run(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
    [start, within]: [&str; 2],
) -> Result<GroupCreation, Error> {
    let args = [group.as_str(), start, MAX_COUNTED, MOST_BYTES, within];
    let reply = CREATE.call(conn, &[stream.as_str()], &args).await;
    created(&reply.map_err(|source| failed(stream, group, source))?).ok_or_else(|| Error::Reply {
        operation: OPERATION,
        stream: stream.clone(),
        missing: "position",
    })
}

fn failed(stream: &StreamKey, group: &GroupName, source: redis::RedisError) -> Error {
    let (stream, group) = (stream.clone(), group.clone());
    Error::Group { operation: OPERATION, stream, group, source: source.into() }
}

fn created(reply: &Value) -> Option<GroupCreation> {
    let Value::Array(fields) = reply else { return None };
    match fields.as_slice() {
        [Value::Int(0), position] => Some(GroupCreation::Existed { position: entry_id(position)? }),
        [Value::Int(1), position, first, Value::Int(stream_created)] => {
            Some(GroupCreation::Created {
                position: entry_id(position)?,
                first_entry: entry_id(first),
                stream_created: *stream_created == 1,
            })
        }
        _ => None,
    }
}
