//! Decides the steps for one resource from its desired and its observed state. Pure.

use eventbus::EntryId;
use eventbus::admin::EnsureGroup;
use eventbus::observe::StreamFacts;
use eventbus_api::{EventConsumerGroupStatus, GroupOrigin};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;

use crate::redis::state::RedisState;
use crate::workload::{self, DeploymentView};

use super::claim::Claim;
use super::desired::Desired;
use super::observed::Observed;

/// Steps for one resource, in their order. The same input gives the same plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Group to create if it is missing, before its pods, and to declare; `None`: nothing to do.
    pub ensure_group: Option<EnsureGroup>,
    /// Origin of the group once it exists; `None` if unknown.
    pub origin: Option<GroupOrigin>,
    /// Number of desired consumer pods: 0 if another resource owns the group.
    pub replicas: u32,
    /// Deployment to apply; `None`: no change.
    pub deployment: Option<Deployment>,
}

/// Decides the steps. `last` is the last status.
#[must_use]
pub fn decide(
    desired: &Desired,
    observed: &Observed,
    last: Option<&EventConsumerGroupStatus>,
) -> Plan {
    if observed.claim != Claim::Ours {
        return Plan { deployment: stopped(desired, observed), ..Plan::default() };
    }
    let replicas = if desired.suspend { 0 } else { desired.replicas };
    if observed.deployment == DeploymentView::Foreign {
        return Plan { replicas, ..Plan::default() };
    }
    let RedisState::Read(snapshot) = &observed.redis else {
        // An existing Deployment follows the spec; a new one is not created before its group exists.
        let runs = observed.deployment.ours().is_some();
        let deployment = if runs { changed(desired, observed, replicas) } else { None };
        return Plan { replicas, deployment, ..Plan::default() };
    };
    // A position in another Redis server must not be used.
    let last = last.filter(|status| status.target_hash() == Some(&observed.target_hash));
    let known = last.and_then(|status| status.group_origin);
    let exists = snapshot.view.facts().is_some();
    let origin = match (exists, known) {
        (true, None) => GroupOrigin::Adopted,
        (true, Some(origin)) => origin,
        (false, None) => GroupOrigin::Created,
        (false, Some(_)) => GroupOrigin::Recreated,
    };
    let ensure_group = (!exists || !observed.is_declared).then(|| {
        EnsureGroup::new(desired.start)
            .with_lost(exists || known.is_some())
            .with_known_position(last.and_then(|status| position(status, snapshot.stream())))
            .with_declaration(desired.declaration())
    });
    let deployment = changed(desired, observed, replicas);
    Plan { ensure_group, origin: Some(origin), replicas, deployment }
}

/// Returns the Deployment if it is missing or has drifted.
fn changed(desired: &Desired, observed: &Observed, replicas: u32) -> Option<Deployment> {
    let deployment = workload::deployment(&desired.workload(replicas));
    match &observed.deployment {
        DeploymentView::Ours(current) if !workload::has_drifted(&deployment, current) => None,
        DeploymentView::Foreign => None,
        DeploymentView::Absent | DeploymentView::Ours(_) => Some(deployment),
    }
}

/// Returns the Deployment without pods if one with pods exists.
fn stopped(desired: &Desired, observed: &Observed) -> Option<Deployment> {
    let current = &observed.deployment;
    let has_pods = current.ours().is_some() && current.spec_replicas() != Some(0);
    has_pods.then(|| workload::deployment(&desired.workload(0)))
}

/// Returns the position of the group in the last status, with the time at which it was read. `None` if the stream is not
/// the same one: then the position may be past entries that were never handled.
fn position(last: &EventConsumerGroupStatus, stream: &StreamFacts) -> Option<(EntryId, Timestamp)> {
    let position = last.position.as_ref()?;
    let id = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<EntryId>().ok());
    let is_same = stream.exists
        && stream.entries_added >= position.entries_added?
        && stream.last_generated >= id(&position.last_generated_id)?;
    let at = position.recorded_at.as_ref()?.0;
    is_same.then_some((id(&position.resume_id)?, at))
}

#[cfg(test)]
mod tests {
    use eventbus::Start;
    use eventbus_api::{PositionStatus, RedisStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use crate::redis::state::ReadFailure;
    use crate::testing::{self, changed, deployed, desired, read};

    use super::*;

    fn decided(observed: &Observed, last: Option<&EventConsumerGroupStatus>) -> Plan {
        decide(&desired(), observed, last)
    }

    fn known(origin: GroupOrigin) -> EventConsumerGroupStatus {
        EventConsumerGroupStatus {
            group_origin: Some(origin),
            redis: Some(RedisStatus { target_hash: Some("hash".into()), ..RedisStatus::default() }),
            position: Some(PositionStatus {
                resume_id: Some("7-0".into()),
                last_generated_id: Some("9-0".into()),
                entries_added: Some(9),
                recorded_at: Some(Time(Timestamp::UNIX_EPOCH)),
                ..PositionStatus::default()
            }),
            ..EventConsumerGroupStatus::default()
        }
    }

    fn ensured(lost: bool, known_position: Option<(EntryId, Timestamp)>) -> EnsureGroup {
        EnsureGroup::new(Start::Id(EntryId::ZERO))
            .with_lost(lost)
            .with_known_position(known_position)
            .with_declaration(desired().declaration())
    }

    #[test]
    fn a_missing_group_is_created_at_its_start_together_with_its_deployment() {
        let plan = decided(&testing::observed(read(None)), None);
        assert_eq!(plan.ensure_group, Some(ensured(false, None)));
        assert_eq!(plan.origin, Some(GroupOrigin::Created));
        assert_eq!(plan.deployment.unwrap().spec.unwrap().replicas, Some(2));
    }

    #[test]
    fn an_existing_group_is_adopted_and_left_as_it_is() {
        let plan = decided(&testing::observed(read(Some(0))), None);
        assert_eq!((plan.ensure_group, plan.origin), (None, Some(GroupOrigin::Adopted)));
        assert!(plan.deployment.is_some());
    }

    #[test]
    fn an_observed_state_as_desired_needs_no_step() {
        let observed =
            Observed { deployment: deployed(&desired(), 2), ..testing::observed(read(Some(0))) };
        let plan = decided(&observed, Some(&known(GroupOrigin::Created)));
        let origin = Some(GroupOrigin::Created);
        assert_eq!(plan, Plan { origin, replicas: 2, ..Plan::default() });
    }

    #[test]
    fn an_unreachable_redis_starts_nothing_and_stops_nothing() {
        let nothing = Plan { replicas: 2, ..Plan::default() };
        let failed = RedisState::Failed(ReadFailure::Unreachable("down".into()));
        assert_eq!(decided(&testing::observed(failed.clone()), None), nothing);
        let running = Observed { deployment: deployed(&desired(), 2), ..testing::observed(failed) };
        assert_eq!(decided(&running, None), nothing);
    }

    #[test]
    fn a_suspended_resource_is_stopped_even_while_redis_is_unreachable() {
        let failed = RedisState::Failed(ReadFailure::Unreachable("down".into()));
        let running = Observed { deployment: deployed(&desired(), 2), ..testing::observed(failed) };
        let suspended = Desired { suspend: true, ..desired() };
        let plan = decide(&suspended, &running, None);
        assert_eq!(plan.replicas, 0);
        assert_eq!(plan.deployment.unwrap().spec.unwrap().replicas, Some(0));
    }

    #[test]
    fn a_foreign_deployment_stops_everything() {
        let observed =
            Observed { deployment: DeploymentView::Foreign, ..testing::observed(read(None)) };
        assert_eq!(decided(&observed, None), Plan { replicas: 2, ..Plan::default() });
    }

    #[test]
    fn a_resource_that_does_not_own_the_group_leaves_it_alone_and_stops_its_own_pods() {
        let claim = Claim::Other { name: None };
        let observed = Observed { claim: claim.clone(), ..testing::observed(read(None)) };
        assert_eq!(decided(&observed, None), Plan::default());
        let running = Observed { claim, deployment: deployed(&desired(), 2), ..observed };
        let plan = decided(&running, None);
        assert_eq!((plan.ensure_group, plan.origin, plan.replicas), (None, None, 0));
        assert_eq!(plan.deployment.unwrap().spec.unwrap().replicas, Some(0));
    }

    #[test]
    fn a_lost_group_resumes_at_its_position() {
        let plan = decided(&testing::observed(read(None)), Some(&known(GroupOrigin::Adopted)));
        let known_position = Some((EntryId { ms: 7, seq: 0 }, Timestamp::UNIX_EPOCH));
        assert_eq!(plan.ensure_group, Some(ensured(true, known_position)));
        assert_eq!(plan.origin, Some(GroupOrigin::Recreated));
    }

    #[test]
    fn in_another_data_set_the_old_position_is_ignored() {
        let redis = changed(read(None), |stream, _| stream.entries_added = 3);
        let latest = Desired { start: Start::Latest, ..desired() };
        let observed = testing::observed(redis);
        let plan = decide(&latest, &observed, Some(&known(GroupOrigin::Created)));
        let mut expected = ensured(true, None);
        expected.start = Start::Latest;
        assert_eq!(plan.ensure_group, Some(expected));
    }

    #[test]
    fn on_another_server_of_the_same_endpoint_the_old_position_is_ignored() {
        let observed = Observed { target_hash: "another".into(), ..testing::observed(read(None)) };
        let plan = decided(&observed, Some(&known(GroupOrigin::Created)));
        assert_eq!(plan.ensure_group, Some(ensured(false, None)));
        assert_eq!(plan.origin, Some(GroupOrigin::Created));
    }

    #[test]
    fn a_group_that_exists_is_declared_once() {
        let observed = Observed { is_declared: false, ..testing::observed(read(Some(0))) };
        let plan = decided(&observed, None);
        assert_eq!(plan.ensure_group, Some(ensured(true, None)));
        assert_eq!(plan.origin, Some(GroupOrigin::Adopted));
        assert_eq!(decided(&testing::observed(read(Some(0))), None).ensure_group, None);
    }
}
