//! Replaying dead letters.

use std::sync::LazyLock;

use eventbus_core::names::{EntryId, GroupName, StreamKey};
use redis::Value;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::{Decoded, number};
use crate::redis::script::{Call, Script, Words, call};

/// A dead letter to make pending again.
pub(super) struct Arguments<'a> {
    pub dead_letters: &'a StreamKey,
    pub group: &'a GroupName,
    pub id: EntryId,
}

impl Call for Arguments<'_> {
    /// `false` if it is being replayed already or does not exist.
    type Reply = bool;
    const OPERATION: &'static str = "replay a dead letter";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("replay.lua")));
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("dead_letters", self.dead_letters);
        words.arg("group", self.group).arg("id", self.id);
    }

    fn read(&self, reply: Value) -> Decoded<bool> {
        Ok(number(&reply).ok_or("number")? == 1)
    }
}

/// Replays the dead letter `id` of `group`: the first consumer of the group that claims it handles it, from the first
/// attempt, whatever types the group selects; no other group sees it. It stays in its stream until it is handled, and
/// is then deleted; a failure stores it as a new dead letter.
///
/// Returns `false` if it is being replayed already or does not exist.
///
/// # Errors
/// [`Error::Group`], with the code `WRONGTYPE` if the key holds something other than a stream.
pub async fn replay(
    conn: &mut Connection,
    dead_letters: &StreamKey,
    group: &GroupName,
    id: EntryId,
) -> Result<bool, Error> {
    let replayed = call(conn, &Arguments { dead_letters, group, id }).await;
    replayed.map_err(|failure| failure.on_group(dead_letters, group))
}
