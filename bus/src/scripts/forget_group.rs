//! Removing the declaration of a group that no resource owns.

use std::sync::LazyLock;

use crate::redis::Connection;
use eventbus_core::names::GroupName;
use redis::{RedisResult, Value};

use crate::redis::script::Script;

static FORGET_GROUP: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("forget_group.lua")));

/// Removes `group`'s field from the hash `key`. Returns 1 or 0, or the field where a resource owns it.
pub(crate) async fn forget_group(
    conn: &mut Connection,
    key: &str,
    group: &GroupName,
) -> RedisResult<Value> {
    FORGET_GROUP.call(conn, &[key], &[group.as_str()]).await
}
