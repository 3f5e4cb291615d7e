//! Result of a plan. Values only; `apply` fills them.

use eventbus::admin::GroupCreation;
use eventbus_api::GroupOrigin;
use k8s_openapi::api::apps::v1::Deployment;

use crate::error::Error;
use crate::redis::state::RedisState;
use crate::workload::DeploymentView;

use super::observed::Observed;
use super::plan::Plan;

/// Results of the steps of a plan.
#[derive(Debug, Default)]
pub struct Applied {
    /// Result of the creation of the group.
    pub creation: Option<GroupCreation>,
    /// Deployment as the API server returned it.
    pub deployment: Option<Deployment>,
    /// Failed steps, for the status.
    pub failures: Failures,
    /// Error with which the reconcile ends after the status is written.
    pub error: Option<Error>,
}

/// Causes of the failed steps of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Cause for which the group could not be created.
    pub group: Option<String>,
    /// Cause for which the Deployment could not be applied.
    pub deployment: Option<String>,
}

/// State after a plan was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct After {
    /// Observed state with the changes of the plan.
    pub observed: Observed,
    /// Origin of the group, if known.
    pub origin: Option<GroupOrigin>,
    /// Failed steps.
    pub failures: Failures,
}

impl Applied {
    /// Returns the origin of the group: `remembered`, or the planned one unless the creation failed or found an existing
    /// group. A retried creation finds the group that it created before.
    #[must_use]
    pub fn origin(&self, plan: &Plan, remembered: Option<GroupOrigin>) -> Option<GroupOrigin> {
        if remembered.is_some() {
            return remembered;
        }
        match &self.creation {
            _ if self.failures.group.is_some() => None,
            Some(GroupCreation::Existed { .. }) => Some(GroupOrigin::Adopted),
            Some(GroupCreation::Created { .. }) | None => plan.origin,
        }
    }
}

impl After {
    /// Combines the `observed` state with the `applied` changes and the state `read_again` from Redis.
    #[must_use]
    pub fn new(
        observed: Observed,
        applied: &Applied,
        read_again: Option<RedisState>,
        origin: Option<GroupOrigin>,
    ) -> Self {
        let deployment = applied.deployment.clone();
        let deployment = deployment.map(|deployment| DeploymentView::Ours(Box::new(deployment)));
        let observed = Observed {
            redis: read_again.unwrap_or(observed.redis),
            deployment: deployment.unwrap_or(observed.deployment),
            ..observed
        };
        Self { observed, origin, failures: applied.failures.clone() }
    }

    /// Returns true while the numbers of the group change.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        matches!(&self.observed.redis, RedisState::Read(snapshot) if snapshot.is_moving)
    }
}

#[cfg(test)]
mod tests {
    use eventbus::EntryId;

    use crate::testing::{deployment, desired, observed, read};

    use super::*;

    fn created() -> Option<GroupCreation> {
        let position = EntryId::ZERO;
        Some(GroupCreation::Created { position, first_entry: None, stream_created: false })
    }

    fn origin(
        creation: Option<GroupCreation>,
        remembered: Option<GroupOrigin>,
    ) -> Option<GroupOrigin> {
        let plan = Plan { origin: Some(GroupOrigin::Created), ..Plan::default() };
        Applied { creation, ..Applied::default() }.origin(&plan, remembered)
    }

    #[test]
    fn an_existing_group_is_adopted_unless_the_operator_created_it_before() {
        let existed = || Some(GroupCreation::Existed { position: EntryId::ZERO });
        assert_eq!(origin(created(), None), Some(GroupOrigin::Created));
        assert_eq!(origin(existed(), None), Some(GroupOrigin::Adopted));
        assert_eq!(origin(existed(), Some(GroupOrigin::Created)), Some(GroupOrigin::Created));
    }

    #[test]
    fn a_group_that_could_not_be_created_has_no_origin() {
        let failures = Failures { group: Some("down".into()), deployment: None };
        let plan = Plan { origin: Some(GroupOrigin::Created), ..Plan::default() };
        let applied = Applied { failures, ..Applied::default() };
        assert_eq!(applied.origin(&plan, None), None);
    }

    #[test]
    fn what_was_applied_and_read_again_replaces_what_was_observed() {
        let before = observed(read(None));
        let applied = Applied { deployment: Some(deployment(&desired(), 2)), ..Applied::default() };
        let after = After::new(before.clone(), &applied, Some(read(Some(3))), None);
        assert_eq!(after.observed.deployment.spec_replicas(), Some(2));
        assert_eq!(after.observed.redis, read(Some(3)));
        let same = After::new(before.clone(), &Applied::default(), None, None);
        assert_eq!(same.observed, before);
    }
}
