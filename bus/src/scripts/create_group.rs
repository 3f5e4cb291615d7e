//! Creating a consumer group so that its lag is known from the start.

use std::sync::LazyLock;

use eventbus_core::declaration::Declaration;
use eventbus_core::group::{
    GroupCreation, MissingGroup, Placement, ResumePoint, ResumeSource, Start, place,
};
use eventbus_core::names::{EntryId, GroupName, StreamKey};
use jiff::Timestamp;
use redis::Value;

use crate::error::Error;
use crate::redis::Connection;
use crate::redis::reply::{Decoded, entry_id, list};
use crate::redis::script::{Call, Script, Words, call};

use super::declare_group::{Declared, Replace, declare_group, unless_refused};

/// Maximum number of entries after the start that are counted; beyond, the new group's lag is counted in pages later.
const MAX_COUNTED: u64 = 10_000;
/// Maximum number of bytes of entries that are read on the server to count them, while all other clients wait.
const MAX_BYTES: u64 = 16_777_216;

/// A group to create if it is missing, with its stream.
pub(super) struct Arguments<'a> {
    pub stream: &'a StreamKey,
    pub group: &'a GroupName,
    pub start: Start,
    /// `true` to start no later than at the stream's last entry: a stream that was created again may end before
    /// `start`.
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

/// Creates `group`, and an empty `stream` where there is none, in one script; an existing group is left as it is.
///
/// # Errors
/// [`Error::Group`], with the code `WRONGTYPE` if the key holds something other than a stream.
pub async fn create(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
    start: &Start,
) -> Result<GroupCreation, Error> {
    let arguments = Arguments { stream, group, start: *start, clamp: false };
    call(conn, &arguments).await.map_err(|failure| failure.on_group(stream, group))
}

/// A group that is to exist, for [`ensure_group`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnsureGroup {
    /// Start of a group that never existed.
    pub start: Start,
    /// `true` if the group is known to have existed: it is then never created at the stream's end.
    pub lost: bool,
    /// Resume point that the caller recorded, with its time by the server's clock. For the same data set only: in
    /// another one it would skip events.
    pub known_position: Option<(EntryId, Timestamp)>,
    /// Owner and types of the group.
    pub declaration: Declaration,
}

impl EnsureGroup {
    /// Asks for a group that starts at `start`, was never there, and has no owner.
    #[must_use]
    pub fn new(start: Start) -> Self {
        Self { start, ..Self::default() }
    }

    /// Sets whether the group is known to have existed.
    #[must_use]
    pub fn with_lost(self, lost: bool) -> Self {
        Self { lost, ..self }
    }

    /// Sets the resume point that the caller recorded.
    #[must_use]
    pub fn with_known_position(self, known_position: Option<(EntryId, Timestamp)>) -> Self {
        Self { known_position, ..self }
    }

    /// Sets owner and types of the group.
    #[must_use]
    pub fn with_declaration(self, declaration: Declaration) -> Self {
        Self { declaration, ..self }
    }
}

/// Result of [`ensure_group`].
#[derive(Debug)]
#[non_exhaustive]
pub struct EnsuredGroup {
    /// Result of creating the group, with its position.
    pub creation: GroupCreation,
    /// Writer of the resume point that the group was created at; `None` for one that existed, or that was created at
    /// its start.
    pub resumed_from: Option<ResumeSource>,
    /// Result of declaring the group.
    pub declared: Declared,
}

/// Creates `group` if it is missing, and declares it. An existing group is left at its position.
///
/// A group that was lost resumes at the fresher of the resume point that its consumers wrote and
/// [`known_position`](EnsureGroup::known_position): it repeats what was in flight and loses nothing. Without either it
/// starts as asked, and if it is known to have existed never at the stream's end. Where Redis refuses to write the
/// declaration, that is part of the result and not an error. May be repeated after any error.
///
/// # Errors
/// As [`create`]; [`Error::Key`] where the connection broke before the group was declared.
pub async fn ensure_group(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
    request: &EnsureGroup,
) -> Result<EnsuredGroup, Error> {
    let (creation, resumed_from) = restore(conn, stream, group, request).await?;
    let declared = declare_group(conn, stream, group, &request.declaration, Replace::Unowned).await;
    Ok(EnsuredGroup { creation, resumed_from, declared: unless_refused(declared)? })
}

/// Creates `group` as [`ensure_group`] does, and does not declare it.
///
/// # Errors
/// As [`create`].
pub(crate) async fn restore(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
    request: &EnsureGroup,
) -> Result<(GroupCreation, Option<ResumeSource>), Error> {
    let from_caller = request.known_position;
    let missing = MissingGroup {
        start: request.start,
        lost: request.lost,
        from_consumers: read_resume_point(conn, stream, group).await?,
        from_caller: from_caller.map(|(position, at)| ResumePoint { position, at: Some(at) }),
    };
    let (start, source) = match place(&missing) {
        Placement::Start(start) => (start, None),
        Placement::Resume { position, source } => (Start::Id(position), Some(source)),
    };
    let arguments = Arguments { stream, group, start, clamp: source.is_some() };
    let creation =
        call(conn, &arguments).await.map_err(|failure| failure.on_group(stream, group))?;
    let is_created = matches!(creation, GroupCreation::Created { .. });
    Ok((creation, source.filter(|_| is_created)))
}

/// Reads the resume point that the group's consumers wrote.
async fn read_resume_point(
    conn: &mut Connection,
    stream: &StreamKey,
    group: &GroupName,
) -> Result<Option<ResumePoint>, Error> {
    let mut command = redis::cmd("HGET");
    command.arg(stream.consumers_key(group)).arg("resume");
    match command.query_async::<Option<Vec<u8>>>(conn).await {
        Ok(field) => Ok(field.and_then(|field| ResumePoint::parse(&field))),
        // Without permission, or with a key of another type, no resume point is known.
        Err(error) if matches!(error.code(), Some("NOPERM" | "WRONGTYPE")) => Ok(None),
        Err(error) => {
            let (operation, source) = (Arguments::OPERATION, error.into());
            let (stream, group) = (stream.clone(), group.clone());
            Err(Error::Group { operation, stream, group, source })
        }
    }
}
