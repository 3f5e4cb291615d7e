//! Declaring a group: trimming waits for it while it is missing, and other programs can read its owner and types.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use eventbus_core::declaration::{Declaration, Owner};
use eventbus_core::names::{GroupName, StreamKey};
use redis::Value;

use crate::error::{Error, chain};
use crate::redis::Connection;
use crate::redis::reply::Decoded;
use crate::redis::script::{Call, Failure, Script, Words, call};

/// A declaration to write.
pub(super) struct Arguments<'a> {
    /// Key of the hash of declared groups.
    pub groups: &'a str,
    pub group: &'a GroupName,
    pub declaration: &'a Declaration,
    pub replace: Replace,
}

/// Declarations that an unowned one replaces. One with an owner replaces any that has no owner or the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replace {
    /// None: its program knows nothing of the group's types.
    Nothing,
    /// One without owner that names other types.
    Unowned,
}

/// Result of declaring a group.
#[derive(Debug)]
#[non_exhaustive]
pub enum Declared {
    /// The declaration was written.
    Written,
    /// A declaration that suffices is there already.
    Unchanged,
    /// A declaration of another resource is there and was left.
    OwnedBy(Owner),
    /// A declaration that cannot be read, and so may be of any owner, is there and was left.
    Unreadable,
    /// Redis refused to write the declaration, for want of permission or memory: while the group is missing, it does
    /// not hold trimming back.
    Refused(Error),
}

impl Call for Arguments<'_> {
    type Reply = Declared;
    const OPERATION: &'static str = "declare a group";

    fn script() -> &'static Script {
        static SCRIPT: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(
                include_str!("common/reply.lua"),
                include_str!("common/declaration.lua"),
                include_str!("declare_group.lua")
            ))
        });
        &SCRIPT
    }

    fn write(&self, words: &mut Words) {
        words.key("groups", self.groups);
        words.arg("group", self.group).arg("declaration", self.declaration.field());
        words.arg("replace_unowned", u8::from(self.replace == Replace::Unowned));
    }

    fn read(&self, reply: Value) -> Decoded<Declared> {
        match reply {
            Value::Int(1) => Ok(Declared::Written),
            Value::Int(0) => Ok(Declared::Unchanged),
            Value::BulkString(field) => {
                let owner = Declaration::parse(&field).ok().and_then(|declared| declared.owner);
                Ok(owner.map_or(Declared::Unreadable, Declared::OwnedBy))
            }
            _ => Err("number"),
        }
    }
}

/// Declares `group`. A declaration of another resource, or one that cannot be read, is left.
///
/// # Errors
/// [`Error::Key`], with the code `NOPERM` without permission to write it; see [`unless_refused`].
pub(crate) async fn declare_group(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
    declaration: &Declaration,
    replace: Replace,
) -> Result<Declared, Error> {
    let key = stream.groups_key();
    let declared = call(conn, &Arguments { groups: &key, group, declaration, replace }).await;
    declared.map_err(Failure::into_redis).map_err(|source| Error::Key {
        operation: Arguments::OPERATION,
        key,
        source: source.into(),
    })
}

/// Turns an error that Redis answered into [`Declared::Refused`]: the group is used all the same.
pub(crate) fn unless_refused(declared: Result<Declared, Error>) -> Result<Declared, Error> {
    match declared {
        Err(error) if error.code().is_some() => Ok(Declared::Refused(error)),
        declared => declared,
    }
}

/// Groups of one stream that were logged as not declared, so that each is logged once. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefusalLog(Arc<Mutex<BTreeSet<GroupName>>>);

impl RefusalLog {
    /// Logs once for each group that it could not be declared.
    pub(crate) fn log(&self, stream: &StreamKey, group: &GroupName, declared: &Declared) {
        let cause = match declared {
            Declared::Refused(error) => chain(error),
            Declared::Unreadable => "its declaration cannot be read".to_owned(),
            Declared::Written | Declared::Unchanged | Declared::OwnedBy(_) => return,
        };
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.insert(group.clone()) {
            tracing::warn!(%stream, %group, error = cause,
                "cannot declare the group; while it is missing, it does not hold trimming back");
        }
    }
}
