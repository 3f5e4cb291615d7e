//! A snapshot of a stream and its groups, read in one script at one moment.

mod reply;

use std::sync::LazyLock;

use crate::redis::Connection;
use eventbus_core::facts::StreamFacts;
use eventbus_core::names::{GroupName, StreamKey};

use crate::error::Error;
use crate::redis::script::Script;

static SNAPSHOT: LazyLock<Script> =
    LazyLock::new(|| Script::read_only(include_str!("snapshot.lua")));

/// A group of which consumers and dead letters are wanted too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRequest {
    /// The group; it need not exist.
    pub group: GroupName,
    /// Stream of its dead letters, in the stream's hash slot.
    pub dead_letters: StreamKey,
}

/// Reads `stream` and all its groups, with consumers and dead letters of `groups`. Needs no right to write.
///
/// A missing stream or group, and a group whose other keys cannot be read, are no errors but facts.
///
/// # Errors
/// [`Error::Stream`], with the code `WRONGTYPE` where the key holds something else than a stream.
pub async fn snapshot(
    conn: &mut Connection,
    stream: &StreamKey,
    groups: &[GroupRequest],
) -> Result<StreamFacts, Error> {
    const OPERATION: &str = "look at the groups";
    let hashes: Vec<String> = groups.iter().map(|r| stream.consumers_key(&r.group)).collect();
    let mut keys = vec![stream.as_str()];
    for (request, hash) in groups.iter().zip(&hashes) {
        keys.extend([request.dead_letters.as_str(), hash]);
    }
    let names: Vec<&str> = groups.iter().map(|r| r.group.as_str()).collect();
    let reply = SNAPSHOT.call(conn, &keys, &names).await.map_err(|source| Error::Stream {
        operation: OPERATION,
        stream: stream.clone(),
        source: source.into(),
    })?;
    reply::stream_facts(&reply).map_err(|missing| Error::Reply {
        operation: OPERATION,
        stream: stream.clone(),
        missing,
    })
}
