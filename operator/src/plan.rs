//! What to do, decided from what is wanted and what is there. Pure.

use eventbus::{EntryId, Start};
use eventbus_api::{EventConsumerGroupStatus, GroupOrigin};
use k8s_openapi::api::apps::v1::Deployment;

use crate::observed::{Claim, DeploymentView, GroupView, Observed, RedisView};
use crate::wanted::Wanted;
use crate::{status, workload};

/// The steps for one resource, in their order. Deciding again on the same input gives the same plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Create the group, before there are pods that read it.
    pub create_group: Option<Start>,
    /// How the operator came to the group, once the group stands.
    pub origin: Option<GroupOrigin>,
    /// Apply this Deployment.
    pub deployment: Option<Deployment>,
}

/// Decides. `previous` is the status of the last time; `target_hash` stands for the Redis that was asked.
#[must_use]
pub fn decide(
    wanted: &Wanted,
    observed: &Observed,
    previous: Option<&EventConsumerGroupStatus>,
    target_hash: &str,
) -> Plan {
    if observed.claim != Claim::Ours {
        return Plan { deployment: stopped(wanted, observed), ..Plan::default() };
    }
    if observed.deployment == DeploymentView::Foreign {
        return Plan::default();
    }
    let previous = previous.filter(|status| same_redis(status, target_hash));
    let RedisView::Seen(view) = &observed.redis else {
        // What runs goes on, as the resource says; nothing new is started before its group stands.
        let runs = matches!(observed.deployment, DeploymentView::Ours(_));
        let deployment = if runs { changed(wanted, observed) } else { None };
        return Plan { deployment, ..Plan::default() };
    };
    let known = previous.and_then(|status| status.group_origin);
    let (create_group, origin) = match (&view.group, known) {
        (Some(_), None) => (None, GroupOrigin::Adopted),
        (Some(_), Some(origin)) => (None, origin),
        (None, None) => (Some(wanted.start), GroupOrigin::Created),
        (None, Some(_)) => (Some(start_again(wanted, view, previous)), GroupOrigin::Recreated),
    };
    Plan { create_group, origin: Some(origin), deployment: changed(wanted, observed) }
}

/// Whether `status` speaks of the Redis that was asked now: a position in another one means nothing.
fn same_redis(status: &EventConsumerGroupStatus, target_hash: &str) -> bool {
    status::recorded_hash(status) == Some(target_hash)
}

/// The Deployment, where it is missing or differs from what is wanted.
fn changed(wanted: &Wanted, observed: &Observed) -> Option<Deployment> {
    let desired = workload::deployment(wanted, wanted.desired_replicas());
    match &observed.deployment {
        DeploymentView::Ours(present) if workload::is_in_place(&desired, present) => None,
        DeploymentView::Foreign => None,
        _ => Some(desired),
    }
}

/// The Deployment without pods, where there is one that has or wants some.
fn stopped(wanted: &Wanted, observed: &Observed) -> Option<Deployment> {
    let DeploymentView::Ours(present) = &observed.deployment else {
        return None;
    };
    let replicas = present.spec.as_ref().and_then(|spec| spec.replicas);
    (replicas != Some(0)).then(|| workload::deployment(wanted, 0))
}

/// Where a group that vanished starts again: never past what it had done, and after everything it had done if the
/// stream is still the same one. A start at the end was meant for the first time only.
fn start_again(
    wanted: &Wanted,
    view: &GroupView,
    previous: Option<&EventConsumerGroupStatus>,
) -> Start {
    let position = previous.and_then(|status| status.position.as_ref());
    let id = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<EntryId>().ok());
    let resume = position.and_then(|position| {
        let grown = view.stream.entries_added >= position.entries_added?
            && view.stream.last_generated >= id(&position.last_generated_id)?;
        let resume = id(&position.resume_id)?;
        (view.stream_exists && grown).then(|| resume.min(view.stream.last_generated))
    });
    match (resume, wanted.start) {
        (Some(resume), _) => Start::Id(resume),
        (None, Start::Latest) => Start::Id(EntryId::ZERO),
        (None, start) => start,
    }
}

#[cfg(test)]
mod tests {
    use crate::observed::Trouble;
    use crate::testing::{self, deployed, seen, wanted};
    use eventbus_api::{PositionStatus, RedisStatus};

    use super::*;

    fn decided(observed: &Observed, previous: Option<&EventConsumerGroupStatus>) -> Plan {
        decide(&wanted(), observed, previous, "hash")
    }

    fn known(origin: GroupOrigin) -> EventConsumerGroupStatus {
        EventConsumerGroupStatus {
            group_origin: Some(origin),
            redis: Some(RedisStatus { target_hash: Some("hash".into()), ..RedisStatus::default() }),
            position: Some(PositionStatus {
                resume_id: Some("7-0".into()),
                last_generated_id: Some("9-0".into()),
                entries_added: Some(9),
                ..PositionStatus::default()
            }),
            ..EventConsumerGroupStatus::default()
        }
    }

    #[test]
    fn a_missing_group_is_created_at_its_start_together_with_its_deployment() {
        let plan = decided(&testing::observed(seen(None)), None);
        assert_eq!(plan.create_group, Some(Start::Id(EntryId::ZERO)));
        assert_eq!(plan.origin, Some(GroupOrigin::Created));
        assert_eq!(plan.deployment.unwrap().spec.unwrap().replicas, Some(2));
    }

    #[test]
    fn an_existing_group_is_adopted_and_left_as_it_is() {
        let plan = decided(&testing::observed(seen(Some(0))), None);
        assert_eq!((plan.create_group, plan.origin), (None, Some(GroupOrigin::Adopted)));
        assert!(plan.deployment.is_some());
    }

    #[test]
    fn what_is_in_place_needs_no_step() {
        let observed =
            Observed { deployment: deployed(&wanted(), 2), ..testing::observed(seen(Some(0))) };
        let plan = decided(&observed, Some(&known(GroupOrigin::Created)));
        let origin = Some(GroupOrigin::Created);
        assert_eq!(plan, Plan { origin, ..Plan::default() });
    }

    #[test]
    fn an_unreachable_redis_starts_nothing_and_stops_nothing() {
        let trouble = RedisView::Trouble(Trouble::Unreachable("down".into()));
        assert_eq!(decided(&testing::observed(trouble.clone()), None), Plan::default());
        let running = Observed { deployment: deployed(&wanted(), 2), ..testing::observed(trouble) };
        assert_eq!(decided(&running, None), Plan::default());
    }

    #[test]
    fn a_suspended_resource_is_stopped_even_while_redis_is_away() {
        let trouble = RedisView::Trouble(Trouble::Unreachable("down".into()));
        let running = Observed { deployment: deployed(&wanted(), 2), ..testing::observed(trouble) };
        let suspended = Wanted { suspend: true, ..wanted() };
        let plan = decide(&suspended, &running, None, "hash");
        assert_eq!(plan.deployment.unwrap().spec.unwrap().replicas, Some(0));
    }

    #[test]
    fn a_foreign_deployment_stops_everything() {
        let observed =
            Observed { deployment: DeploymentView::Foreign, ..testing::observed(seen(None)) };
        assert_eq!(decided(&observed, None), Plan::default());
    }

    #[test]
    fn the_loser_of_a_conflict_touches_no_group_and_stops_its_own_pods() {
        let claim = Claim::Other { name: None };
        let observed = Observed { claim: claim.clone(), ..testing::observed(seen(None)) };
        assert_eq!(decided(&observed, None), Plan::default());
        let running = Observed { claim, deployment: deployed(&wanted(), 2), ..observed };
        let plan = decided(&running, None);
        assert_eq!((plan.create_group, plan.origin), (None, None));
        assert_eq!(plan.deployment.unwrap().spec.unwrap().replicas, Some(0));
    }

    #[test]
    fn a_vanished_group_resumes_where_it_was() {
        let plan = decided(&testing::observed(seen(None)), Some(&known(GroupOrigin::Adopted)));
        assert_eq!(plan.create_group, Some(Start::Id(EntryId { ms: 7, seq: 0 })));
        assert_eq!(plan.origin, Some(GroupOrigin::Recreated));
    }

    #[test]
    fn in_another_data_set_a_vanished_group_starts_anew_and_never_at_the_end() {
        let RedisView::Seen(mut view) = seen(None) else { unreachable!() };
        view.stream.entries_added = 3;
        let latest = Wanted { start: Start::Latest, ..wanted() };
        let observed = testing::observed(RedisView::Seen(view));
        let plan = decide(&latest, &observed, Some(&known(GroupOrigin::Created)), "hash");
        assert_eq!(plan.create_group, Some(Start::Id(EntryId::ZERO)));
    }

    #[test]
    fn behind_another_redis_of_the_same_name_the_old_position_means_nothing() {
        let observed = testing::observed(seen(None));
        let plan = decide(&wanted(), &observed, Some(&known(GroupOrigin::Created)), "another");
        assert_eq!(plan.create_group, Some(Start::Id(EntryId::ZERO)));
        assert_eq!(plan.origin, Some(GroupOrigin::Created));
    }
}
