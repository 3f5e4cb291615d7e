//! Dead letters: what could not be handled, kept where people can look at it and have it handled again.

use std::sync::LazyLock;

use crate::redis::Connection;
use redis::Value;

use crate::error::Error;
use crate::redis::script::Script;
use eventbus_core::names::{EntryId, GroupName, StreamKey};

const OPERATION: &str = "replay a dead letter";

static REPLAY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("replay.lua")));

/// Has the dead letter `id` of `group` handled again, by whichever consumer of the group finds it first: from the first
/// attempt, whatever types are wanted, seen by no other group. It lies where it is until it is handled, and is gone then;
/// a failure makes a new dead letter of it.
///
/// `false`: it is being replayed already, or is not there (any more).
///
/// # Errors
/// [`Error::Group`], with the code `WRONGTYPE` where the key holds something else than a stream.
pub async fn replay(
    conn: &mut Connection,
    dead_letters: &StreamKey,
    group: &GroupName,
    id: EntryId,
) -> Result<bool, Error> {
    let args = [group.as_str(), &id.to_string()];
    match REPLAY.call(conn, &[dead_letters.as_str()], &args).await {
        Ok(Value::Int(number)) => Ok(number == 1),
        Ok(_) => Err(Error::Reply {
            operation: OPERATION,
            stream: dead_letters.clone(),
            missing: "number",
        }),
        Err(source) => Err(Error::Group {
            operation: OPERATION,
            stream: dead_letters.clone(),
            group: group.clone(),
            source: source.into(),
        }),
    }
}
