//! Removing the declaration of a group that no resource owns.

use std::sync::LazyLock;

use eventbus_core::names::GroupName;
use redis::{RedisResult, Value};

use crate::redis::Connection;
use crate::redis::reply::Decoded;
use crate::redis::script::{Call, Failure, Script, Words, call};

/// A declaration to remove.
pub(super) struct Arguments<'a> {
    /// Key of the hash of declared groups.
    pub groups: &'a str,
    pub group: &'a GroupName,
}

/// Result of removing a declaration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Forgotten {
    /// It was removed.
    Removed,
    /// There was none.
    Undeclared,
    /// It was left: it names an owner, or cannot be read.
    Kept(Vec<u8>),
}

impl Call for Arguments<'_> {
    type Reply = Forgotten;
    const OPERATION: &'static str = "remove the declaration of a group";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("common/reply.lua"),
                include_str!("common/declaration.lua"),
                include_str!("forget_group.lua")
            ))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("groups", self.groups);
        words.arg("group", self.group);
    }

    fn read(&self, reply: Value) -> Decoded<Forgotten> {
        match reply {
            Value::Int(1) => Ok(Forgotten::Removed),
            Value::Int(0) => Ok(Forgotten::Undeclared),
            Value::BulkString(field) => Ok(Forgotten::Kept(field)),
            _ => Err("number"),
        }
    }
}

/// Removes `group`'s field from the hash `groups`, unless a resource owns it or it cannot be read.
pub(crate) async fn forget_group(
    conn: &mut Connection,
    groups: &str,
    group: &GroupName,
) -> RedisResult<Forgotten> {
    call(conn, &Arguments { groups, group }).await.map_err(Failure::into_redis)
}
