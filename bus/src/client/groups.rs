//! Creating groups, declaring them, and forgetting that they were declared.

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
    /// Creates `group` where it is missing, and the stream with it: `true` if it was created, `false` if it stood
    /// already and stays where it is. [`Start::default`] is the beginning of what the stream keeps. A group that was
    /// there before and was destroyed resumes where it had come to.
    ///
    /// From then on this program keeps the group: it is declared in `P:eventbus:groups`, so that nothing that it may need is
    /// trimmed while it is missing, for [`missing_group_hold`](crate::config::BusConfig::missing_group_hold) at most unless
    /// a resource owns it. Subscriptions and further calls of this bus create it again if it is lost, then never at the
    /// stream's end, which would skip what came meanwhile. A declaration that is there already is left as it is; where
    /// Redis refuses to write one, that is logged, and is no error. Calling it again does no harm, also after
    /// an error, which does not say that nothing was done.
    ///
    /// # Errors
    /// [`Error::Group`], with the code `WRONGTYPE` where the stream's key holds something else, `NOPERM` without the
    /// right to create a group, `OOM` where Redis has no memory for it; [`Error::Key`] where the connection broke
    /// before the group was declared; [`Error::File`], [`Error::Connect`] and [`Error::BreakerOpen`] without a connection;
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
    /// unreachable or refuses for a reason that passes by itself, with a backoff of up to 2 s and one log line a minute.
    /// Cancelling it leaves nothing behind.
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
                    "cannot create the group yet; retrying");
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Removes the declaration of `group`, and leaves the group as it is: `true` if one was removed, `false` if there
    /// was none.
    ///
    /// From then on a missing `group` keeps nobody from trimming, and later subscriptions of this bus do not create it
    /// any more.
    ///
    /// # Errors
    /// [`Error::OwnedByResource`] if a resource declares the group: its operator would declare it again;
    /// [`Error::Declaration`] if what stands there cannot be read, and so may be anybody's; [`Error::Key`] with what
    /// Redis answered, such as `NOPERM`; [`Error::File`], [`Error::Connect`] and [`Error::BreakerOpen`] without a connection;
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

    /// What is declared of `group`; nothing where it is not declared.
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
        // One insertion or removal at a time: whoever panicked with it left it whole.
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares `group` without types, where nothing is declared of it.
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

    /// Why a declaration was left where it is.
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
