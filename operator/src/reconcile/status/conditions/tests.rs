use eventbus::observe::{Lag, LagSource};
use k8s_openapi::api::apps::v1::DeploymentCondition;

use crate::reconcile::observed::Observed;
use crate::reconcile::plan;
use crate::testing::{self, after, deployed, desired, observed, read};

use super::*;

/// Reason and status of Ready.
fn state(desired: &Desired, observed: &Observed) -> (&'static str, bool) {
    let ready = all(desired, observed).swap_remove(0);
    (ready.reason, ready.status.unwrap())
}

fn all(desired: &Desired, observed: &Observed) -> Vec<ConditionDraft> {
    let plan = plan::decide(desired, observed, None);
    conditions(desired, &after(observed.clone()), plan.replicas)
}

fn running(redis: RedisState, ready: i32) -> Observed {
    Observed { deployment: deployed(&desired(), ready), ..observed(redis) }
}

fn changed(change: impl Fn(&mut GroupFacts)) -> RedisState {
    testing::changed(read(Some(0)), |stream, _| change(stream.groups.get_mut("g").unwrap()))
}

#[test]
fn with_all_pods_ready_the_backlog_decides_between_consuming_and_idle() {
    assert_eq!(state(&desired(), &running(read(Some(0)), 2)), ("Idle", true));
    assert_eq!(state(&desired(), &running(read(Some(3)), 2)), ("Consuming", true));
    let pending = changed(|group| group.pending = 1);
    assert_eq!(state(&desired(), &running(pending, 2)), ("Consuming", true));
}

#[test]
fn an_unknown_lag_counts_as_a_backlog() {
    let unknown = testing::changed(read(Some(0)), |_, lag| *lag = Lag::UNKNOWN);
    assert_eq!(state(&desired(), &running(unknown, 2)), ("Consuming", true));
}

#[test]
fn without_a_ready_pod_the_resource_is_not_ready() {
    assert_eq!(state(&desired(), &running(read(Some(0)), 0)), ("ConsumersUnavailable", false));
    assert_eq!(state(&desired(), &observed(read(Some(0)))), ("ConsumersUnavailable", false));
}

#[test]
fn the_reason_why_no_pod_is_ready_is_reported() {
    let pod_problem = Some("pod p: ImagePullBackOff".to_owned());
    let observed = Observed { pod_problem, ..running(read(Some(0)), 0) };
    let ready = all(&desired(), &observed).swap_remove(0);
    assert_eq!(ready.message, "none of 2 desired pods is ready; pod p: ImagePullBackOff");
}

#[test]
fn some_ready_pods_are_scaling() {
    assert_eq!(state(&desired(), &running(read(Some(0)), 1)), ("Scaling", true));
    assert_eq!(state(&desired(), &running(read(Some(0)), 3)), ("Scaling", true));
}

#[test]
fn a_failed_deployment_reports_the_reason() {
    let mut observed = running(read(Some(0)), 1);
    let DeploymentView::Ours(deployment) = &mut observed.deployment else { unreachable!() };
    deployment.status.as_mut().unwrap().conditions = Some(vec![DeploymentCondition {
        type_: "ReplicaFailure".into(),
        status: "True".into(),
        message: Some("exceeded quota".into()),
        ..DeploymentCondition::default()
    }]);
    let all = all(&desired(), &observed);
    assert_eq!((all[0].reason, &*all[0].message), ("ConsumersUnavailable", "exceeded quota"));
}

#[test]
fn suspended_and_stopped_are_what_the_user_asked_for() {
    let suspended = Desired { suspend: true, ..desired() };
    assert_eq!(state(&suspended, &running(read(Some(3)), 0)), ("Suspended", true));
    let stopped = Desired { replicas: 0, ..desired() };
    assert_eq!(state(&stopped, &running(read(Some(3)), 0)), ("Stopped", true));
    assert_eq!(state(&stopped, &running(read(Some(0)), 0)), ("Idle", true));
}

#[test]
fn a_backlog_without_progress_is_stalled() {
    let stalled = |value| {
        let set = |_: &mut _, lag: &mut Lag| *lag = Lag::new(value, LagSource::Exact);
        let RedisState::Read(mut snapshot) = testing::changed(read(Some(0)), set) else { panic!() };
        snapshot.is_stalled = true;
        RedisState::Read(snapshot)
    };
    assert_eq!(state(&desired(), &running(stalled(2), 2)), ("Stalled", false));
    assert_eq!(state(&desired(), &running(stalled(0), 2)), ("Idle", true));
    let suspended = Desired { suspend: true, ..desired() };
    assert_eq!(state(&suspended, &running(stalled(2), 0)), ("Suspended", true));
}

#[test]
fn case_02_an_entry_that_cannot_be_fetched_is_named_with_what_to_do() {
    let unfetchable = changed(|group| {
        group.unfetchable = Some(eventbus::EntryId { ms: 7, seq: 1 });
        group.pending = 1;
    });
    let named = |all: &[ConditionDraft], type_: &str| {
        let condition = all.iter().find(|condition| condition.type_ == type_).unwrap();
        condition.message.contains("cannot fetch entry 7-1")
            && condition.message.contains("XDEL s 7-1")
    };
    let going_on = all(&desired(), &running(unfetchable.clone(), 2));
    assert_eq!((going_on[0].reason, named(&going_on, "GroupReady")), ("Consuming", true));
    let RedisState::Read(mut snapshot) = unfetchable else { panic!() };
    snapshot.is_stalled = true;
    let stalled = all(&desired(), &running(RedisState::Read(snapshot), 2));
    assert_eq!((stalled[0].reason, named(&stalled, "Ready")), ("Stalled", true));
}

#[test]
fn the_maximum_of_delayed_entries_is_a_retry_backlog() {
    let full = changed(|group| group.delayed = 10_000);
    assert_eq!(state(&desired(), &running(full, 2)), ("RetryBacklog", false));
}

#[test]
fn a_group_past_the_end_of_its_stream_is_reported_with_the_way_out() {
    let ahead = testing::changed(read(Some(0)), |stream, _| {
        stream.last_generated = eventbus::EntryId { ms: 3, seq: 0 };
    });
    let all = all(&desired(), &running(ahead, 2));
    assert_eq!(all[0].reason, "GroupAheadOfStream");
    let message = &all[0].message;
    for way_out in ["XGROUP SETID s g 3-0 (", "XGROUP SETID s g 0 ("] {
        assert!(message.contains(way_out), "{message}");
    }
}

#[test]
fn each_failure_of_redis_has_its_state_and_leaves_the_group_unknown() {
    let text = || "why".to_owned();
    for (failure, reason, reachable) in [
        (ReadFailure::AuthFailed(text()), "AuthFailed", false),
        (ReadFailure::Unreachable(text()), "RedisUnreachable", false),
        (ReadFailure::UnsupportedServer(text()), "UnsupportedServer", false),
        (ReadFailure::WrongType(text()), "WrongType", true),
    ] {
        let all = all(&desired(), &running(RedisState::Failed(failure), 2));
        assert_eq!((all[0].reason, all[0].status), (reason, Some(false)));
        assert_eq!((all[1].type_, all[1].status), ("RedisReachable", Some(reachable)), "{reason}");
        assert_eq!((all[3].type_, all[3].status), ("GroupReady", None), "{reason}");
    }
}

#[test]
fn a_missing_group_reports_why_it_could_not_be_created() {
    let failures = Failures { group: Some("OOM".into()), ..Failures::default() };
    let after = After { failures, ..after(running(read(None), 2)) };
    let all = conditions(&desired(), &after, 2);
    assert_eq!(all[0].reason, "GroupLost");
    assert!(all[0].message.ends_with("OOM"), "{}", all[0].message);
}

#[test]
fn a_taken_name_comes_before_a_conflict_and_that_before_all_of_redis() {
    let failed = || RedisState::Failed(ReadFailure::Unreachable("why".into()));
    let claim = Claim::Other { name: Some("older".into()) };
    let both = Observed { claim, deployment: DeploymentView::Foreign, ..observed(failed()) };
    assert_eq!(state(&desired(), &both), ("NameTaken", false));
    let conflict = Observed { deployment: DeploymentView::Absent, ..both };
    assert_eq!(state(&desired(), &conflict), ("Conflict", false));
}

#[test]
fn a_resource_in_conflict_names_the_owner_and_has_no_pods() {
    let claim = Claim::Other { name: Some("older".into()) };
    let all = all(&desired(), &Observed { claim, ..observed(read(Some(0))) });
    assert!(all[0].message.contains("\"older\""), "{}", all[0].message);
    let types: Vec<_> = all.iter().map(|draft| (draft.type_, draft.reason)).collect();
    assert_eq!(
        types,
        [
            ("Ready", "Conflict"),
            ("Conflict", "OlderResource"),
            ("ConsumersAvailable", "NoneWanted")
        ]
    );
}
