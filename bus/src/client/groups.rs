//! Creating groups, declaring them, and removing their declarations.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use eventbus_core::declaration::Declaration;
use eventbus_core::group::{GroupCreation, Start};
use eventbus_core::names::GroupName;
use eventbus_core::retry::outage::Outage;

use crate::error::{Error, chain};
use crate::publish::now;
use crate::scripts::create_group::{EnsureGroup, restore};
use crate::scripts::declare_group::{Declared, Replace, declare_group, unless_refused};
use crate::scripts::forget_group::{Forgotten, forget_group};

use super::EventBus;

const CREATE: &str = "create a group";
const DECLARE: &str = "declare a group";
const READ: &str = "read the declaration of a group";
const FORGET: &str = "remove the declaration of a group";

impl EventBus {
    /// Creates `group` if it is missing, and the stream with it. Returns `true` if it was created, `false` if it
    /// existed; an existing group is left at its position. [`Start::default`] is the oldest entry of the stream. A
    /// group that existed before and was destroyed resumes at its resume point.
    ///
    /// The group is also declared in `P:eventbus:groups`: while it is missing, no entry is trimmed, for
    /// [`missing_group_hold`](crate::config::BusConfig::missing_group_hold) at most unless a resource owns it.
    /// Subscriptions and further calls of this bus create it again if it is lost, then never at the stream's end, which
    /// would skip entries. An existing declaration is left as it is. If Redis refuses to write one, that is logged and
    /// is not an error. The call may be repeated, also after an error, which may have left the group created.
    ///
    /// # Errors
    /// [`Error::Group`], with the code `WRONGTYPE` if the stream's key holds something else, `NOPERM` without permission
    /// to create a group, `OOM` if Redis has no memory for it; [`Error::Key`] if the connection broke before the group was
    /// declared; [`Error::File`], [`Error::Connect`] and [`Error::BreakerOpen`] without a connection;
    /// [`Error::TimedOut`].
    pub async fn create_consumer_group(
        &self,
        group: &GroupName,
        start: Start,
    ) -> Result<bool, Error> {
        let lost = self.created().contains_key(group);
        let request = EnsureGroup { start, lost, ..EnsureGroup::default() };
        let create =
            |mut conn| async move { restore(&mut conn, self.stream(), group, &request).await };
        let (creation, _) = self.call(CREATE, create).await?;
        self.created().insert(group.clone(), start);
        let declared = unless_refused(self.declare(group).await)?;
        self.refusals.log(self.stream(), group, &declared);
        Ok(matches!(creation, GroupCreation::Created { .. }))
    }

    /// Creates `group` as [`create_consumer_group`](Self::create_consumer_group) does, and tries again while Redis is
    /// unreachable or refuses for a reason that passes by itself, with a backoff of up to 2 s and one log line a
    /// minute. Cancelling it leaves nothing behind.
    ///
    /// # Errors
    /// Those of [`create_consumer_group`](Self::create_consumer_group) that are not [transient](Error::is_transient).
    pub async fn ensure_consumer_group(
        &self,
        group: &GroupName,
        start: Start,
    ) -> Result<bool, Error> {
        let (mut outage, began) = (Outage::default(), now());
        loop {
            let error = match self.create_consumer_group(group, start).await {
                Err(error) if error.is_transient() => error,
                result => return result,
            };
            let (wait, times) = outage.fail(error.cause(), now() - began, random());
            if let Some(times) = times {
                tracing::warn!(stream = %self.stream(), %group, times, error = %chain(&error),
                    "cannot create the group; retrying");
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Removes the declaration of `group`, and leaves the group as it is. Returns `true` if there was one.
    ///
    /// A missing `group` then no longer holds trimming back, and later subscriptions of this bus do not create it.
    ///
    /// # Errors
    /// [`Error::OwnedByResource`] if a resource declares the group: its operator would declare it again;
    /// [`Error::Declaration`] if the declaration cannot be read, and so may have an owner; [`Error::Key`] with the answer
    /// of Redis, such as `NOPERM`; [`Error::File`], [`Error::Connect`] and [`Error::BreakerOpen`] without a connection;
    /// [`Error::TimedOut`].
    pub async fn forget_consumer_group(&self, group: &GroupName) -> Result<bool, Error> {
        let key = self.stream().groups_key();
        let forget = |mut conn| async move {
            let answer = forget_group(&mut conn, &key, group).await;
            answer.map_err(|source| Error::Key { operation: FORGET, key, source: source.into() })
        };
        let was_declared = match self.call(FORGET, forget).await? {
            Forgotten::Removed => true,
            Forgotten::Undeclared => false,
            Forgotten::Kept(field) => return Err(self.not_ours(group, &field)),
        };
        self.created().remove(group);
        Ok(was_declared)
    }

    /// Reads the declaration of `group`. Returns an empty one if there is none.
    pub(super) async fn declaration(&self, group: &GroupName) -> Result<Declaration, Error> {
        let key = self.stream().groups_key();
        let mut command = redis::cmd("HGET");
        command.arg(&key).arg(group.as_str());
        let read = |mut conn| async move {
            let answer = command.query_async::<Option<Vec<u8>>>(&mut conn).await;
            answer.map_err(|source| Error::Key { operation: READ, key, source: source.into() })
        };
        let field = self.call(READ, read).await?;
        field.map_or(Ok(Declaration::default()), |field| self.parse_declaration(group, &field))
    }

    pub(super) fn created(&self) -> MutexGuard<'_, BTreeMap<GroupName, Start>> {
        // A panic of another holder leaves the map whole.
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares `group` without types, unless it is declared.
    async fn declare(&self, group: &GroupName) -> Result<Declared, Error> {
        let declare = |mut conn| async move {
            let declaration = Declaration::default();
            declare_group(&mut conn, self.stream(), group, &declaration, Replace::Nothing).await
        };
        self.call(DECLARE, declare).await
    }

    fn parse_declaration(&self, group: &GroupName, field: &[u8]) -> Result<Declaration, Error> {
        Declaration::parse(field).map_err(|source| Error::Declaration {
            key: self.stream().groups_key(),
            group: group.clone(),
            source,
        })
    }

    /// Returns the reason why a declaration was left.
    fn not_ours(&self, group: &GroupName, field: &[u8]) -> Error {
        match self.parse_declaration(group, field) {
            Ok(Declaration { owner: Some(owner), .. }) => Error::OwnedByResource {
                stream: self.stream().clone(),
                group: group.clone(),
                owner: Box::new(owner),
            },
            Ok(_) => {
                let stream = self.stream().clone();
                Error::Reply { operation: FORGET, stream, missing: "owner" }
            }
            Err(error) => error,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that draws the jitter")]
fn random() -> f64 {
    rand::random()
}
