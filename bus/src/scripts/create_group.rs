//! Creating a consumer group so that its lag is known from the first second.

use std::sync::LazyLock;

use eventbus_core::group::{GroupCreation, ResumePoint, Start};
use eventbus_core::names::{GroupName, StreamKey};
use redis::Value;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::{Decoded, entry_id, list};
use crate::redis::script::{Call, Script, Words, call};

/// Entries after the start that are counted at most; beyond, the new group's lag is left to be counted in pages.
const MAX_COUNTED: u64 = 10_000;
/// Bytes of entries that may be read on the server to count them, while all other clients wait.
const MAX_BYTES: u64 = 16_777_216;

/// A group to create if it is missing, with its stream.
pub(super) struct Arguments<'a> {
    pub stream: &'a StreamKey,
    pub group: &'a GroupName,
    pub start: Start,
    /// Starts no later than at the stream's last entry: a stream that was made again may end before `start`.
    pub clamp: bool,
}

impl Call for Arguments<'_> {
    type Reply = GroupCreation;
    const OPERATION: &'static str = "set the start";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("common/reply.lua"),
                include_str!("common/id.lua"),
                include_str!("create_group.lua")
            ))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("stream", self.stream);
        words.arg("group", self.group).arg("start", self.start.argument());
        words.arg("max_counted", MAX_COUNTED).arg("max_bytes", MAX_BYTES);
        words.arg("clamp", u8::from(self.clamp));
    }

    fn read(&self, reply: Value) -> Decoded<GroupCreation> {
        created(&reply).ok_or("position")
    }
}

fn created(reply: &Value) -> Option<GroupCreation> {
    match list(reply)? {
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
    let arguments = Arguments { stream, group, start: *start, clamp: false };
    call(conn, &arguments).await.map_err(|failure| failure.on_group(stream, group))
}

/// Creates `group` as [`create`] does, but at its resume point if its consumers stored one: a group that was destroyed
/// repeats what was in flight and loses nothing. `start` is for a group without a resume point, and for a server that lost
/// its data.
///
/// # Errors
/// As [`create`].
pub(crate) async fn restore(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
    start: &Start,
) -> Result<GroupCreation, Error> {
    let mut resume = redis::cmd("HGET");
    resume.arg(stream.consumers_key(group)).arg("resume");
    let resume = match resume.query_async::<Option<Vec<u8>>>(conn).await {
        Ok(field) => field.and_then(|field| serde_json::from_slice(&field).ok()),
        // Without the permission, or with another type there, nothing is known of a past.
        Err(error) if matches!(error.code(), Some("NOPERM" | "WRONGTYPE")) => None,
        Err(error) => {
            let (operation, source) = (Arguments::OPERATION, error.into());
            let (stream, group) = (stream.clone(), group.clone());
            return Err(Error::Group { operation, stream, group, source });
        }
    };
    let position = resume.and_then(ResumePoint::position);
    let start = position.map_or(*start, Start::Id);
    let arguments = Arguments { stream, group, start, clamp: position.is_some() };
    call(conn, &arguments).await.map_err(|failure| failure.on_group(stream, group))
}
