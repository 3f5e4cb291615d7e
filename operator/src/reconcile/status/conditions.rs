//! Conditions from the desired state and the state after the plan, first Ready, whose reason is the STATE. Pure.

use eventbus::observe::GroupFacts;
use eventbus_api::conditions::{self, ConditionDraft};
use eventbus_api::reasons;
use k8s_openapi::api::apps::v1::Deployment;

use crate::reconcile::claim::Claim;
use crate::reconcile::desired::Desired;
use crate::reconcile::outcome::{After, Failures};
use crate::redis::state::{GroupSnapshot, ReadFailure, RedisState};
use crate::workload::{self, DeploymentView};

/// Maximum number of delayed entries of a group, at which its consumers stop reading.
const MAX_DELAYED: u64 = 10_000;
const NOT_READ: &str = "Redis was not read yet";

/// Returns all conditions, Ready first. `replicas` is the desired number of pods.
pub(super) fn conditions(desired: &Desired, after: &After, replicas: u32) -> Vec<ConditionDraft> {
    let consumers = consumers_available(after, replicas);
    let mut all = vec![ready(desired, after, replicas, &consumers)];
    if let Claim::Other { name } = &after.observed.claim {
        let message = conflict_message(desired, name.as_deref());
        all.push(ConditionDraft::new(
            conditions::CONFLICT,
            Some(true),
            reasons::OLDER_RESOURCE,
            message,
        ));
    } else {
        let redis = &after.observed.redis;
        all.push(redis_reachable(redis));
        all.push(stream_exists(desired, redis));
        all.push(group_ready(desired, redis, &after.failures));
    }
    all.push(consumers);
    all
}

fn ready(
    desired: &Desired,
    After { observed, failures, .. }: &After,
    replicas: u32,
    consumers: &ConditionDraft,
) -> ConditionDraft {
    let no = |reason, message: String| {
        ConditionDraft::new(conditions::READY, Some(false), reason, message)
    };
    if observed.deployment == DeploymentView::Foreign {
        let name = workload::name(&desired.resource);
        let message = format!(
            "Deployment {name} exists and is not controlled by this resource; delete it, or create this resource under another name"
        );
        return no(reasons::NAME_TAKEN, message);
    }
    if let Claim::Other { name } = &observed.claim {
        return no(reasons::CONFLICT, conflict_message(desired, name.as_deref()));
    }
    let snapshot = match &observed.redis {
        RedisState::NotRead => return no(reasons::REDIS_UNREACHABLE, NOT_READ.to_owned()),
        RedisState::Failed(failure) => {
            return no(failure_reason(failure), failure.message().to_owned());
        }
        RedisState::Read(snapshot) => snapshot,
    };
    let group = match (snapshot.view.facts(), &failures.group) {
        (Some(group), _) => group,
        (None, failure) => {
            let why = failure.as_deref().unwrap_or("it is being created");
            return no(reasons::GROUP_LOST, format!("group {} is missing: {why}", desired.group));
        }
    };
    if snapshot.view.is_ahead() {
        return no(reasons::GROUP_AHEAD_OF_STREAM, ahead_message(desired, snapshot, group));
    }
    if consumers.reason == reasons::CONSUMERS_UNAVAILABLE {
        return no(reasons::CONSUMERS_UNAVAILABLE, consumers.message.clone());
    }
    if group.delayed >= MAX_DELAYED {
        let message = format!(
            "{MAX_DELAYED} entries are delayed, which is the maximum: no more are read until some are retried"
        );
        return no(reasons::RETRY_BACKLOG, message);
    }
    let has_work = snapshot.view.backlog() != Some(0);
    if snapshot.is_stalled && has_work && replicas > 0 {
        let message = "pods are ready and the backlog is not empty, but for 60 s nothing was delivered or acknowledged";
        let cause = unfetchable_message(desired, group).map(|cause| format!("; {cause}"));
        return no(reasons::STALLED, format!("{message}{}", cause.unwrap_or_default()));
    }
    working(desired, consumers, has_work)
}

/// Returns the condition of a resource that is Ready.
fn working(desired: &Desired, consumers: &ConditionDraft, has_work: bool) -> ConditionDraft {
    let (reason, message) = if desired.suspend {
        (reasons::SUSPENDED, "suspend is true: no pods run, and the group keeps its position")
    } else if desired.replicas == 0 && has_work {
        (reasons::STOPPED, "replicas is 0, and the backlog is not empty")
    } else if consumers.reason == reasons::SCALING {
        (reasons::SCALING, "the number of ready pods differs from the desired one")
    } else if has_work {
        (reasons::CONSUMING, "events are being handled")
    } else {
        (reasons::IDLE, "all events are handled")
    };
    ConditionDraft::new(conditions::READY, Some(true), reason, message)
}

fn conflict_message(desired: &Desired, owner: Option<&str>) -> String {
    let owner = owner.map_or("a resource in another namespace".to_owned(), |o| format!("{o:?}"));
    format!(
        "group {} on stream {} of endpoint {} is owned by {owner}, which is older; this resource adopts the group when that one is deleted",
        desired.group, desired.target.stream, desired.target.endpoint
    )
}

fn ahead_message(desired: &Desired, snapshot: &GroupSnapshot, group: &GroupFacts) -> String {
    let (group_name, stream) = (&desired.group, &desired.target.stream);
    let (position, last_entry) = (group.last_delivered, snapshot.stream().last_generated);
    format!(
        "group {group_name} is at {position}, past the last entry {last_entry} of stream {stream}: new entries would not be \
         delivered; set its position with XGROUP SETID {stream} {group_name} {last_entry} (new entries only) or \
         XGROUP SETID {stream} {group_name} 0 (all entries)"
    )
}

/// Returns what to do about an entry that a consumer cannot fetch.
fn unfetchable_message(desired: &Desired, group: &GroupFacts) -> Option<String> {
    let stream = &desired.target.stream;
    group.unfetchable.map(|id| {
        format!(
            "consumers cannot fetch entry {id}, although they ask for nothing else with it; it stays pending: raise the limit \
             that cuts the reply (client-output-buffer-limit, a proxy's), or delete the entry with XDEL {stream} {id}"
        )
    })
}

/// Returns the reason, and so the STATE, for a failure.
fn failure_reason(failure: &ReadFailure) -> &'static str {
    match failure {
        ReadFailure::AuthFailed(_) => reasons::AUTH_FAILED,
        ReadFailure::Unreachable(_) => reasons::REDIS_UNREACHABLE,
        ReadFailure::UnsupportedServer(_) => reasons::UNSUPPORTED_SERVER,
        ReadFailure::WrongType(_) => reasons::WRONG_TYPE,
    }
}

fn redis_reachable(redis: &RedisState) -> ConditionDraft {
    let type_ = conditions::REDIS_REACHABLE;
    match redis {
        // The server responded; the failure concerns the key.
        RedisState::Read(_) | RedisState::Failed(ReadFailure::WrongType(_)) => {
            ConditionDraft::new(type_, Some(true), reasons::ANSWERS, "")
        }
        RedisState::Failed(failure) => {
            ConditionDraft::new(type_, Some(false), failure_reason(failure), failure.message())
        }
        RedisState::NotRead => ConditionDraft::new(type_, None, reasons::UNKNOWN, NOT_READ),
    }
}

fn stream_exists(desired: &Desired, redis: &RedisState) -> ConditionDraft {
    let type_ = conditions::STREAM_EXISTS;
    match redis {
        RedisState::Read(snapshot) if snapshot.stream().exists => {
            ConditionDraft::new(type_, Some(true), reasons::EXISTS, "")
        }
        RedisState::Read(_) => {
            let message = format!("stream {} does not exist", desired.target.stream);
            ConditionDraft::new(type_, Some(false), reasons::MISSING, message)
        }
        RedisState::Failed(ReadFailure::WrongType(message)) => {
            ConditionDraft::new(type_, Some(false), reasons::WRONG_TYPE, message)
        }
        RedisState::Failed(failure) => {
            ConditionDraft::new(type_, None, reasons::UNKNOWN, failure.message())
        }
        RedisState::NotRead => ConditionDraft::new(type_, None, reasons::UNKNOWN, NOT_READ),
    }
}

fn group_ready(desired: &Desired, redis: &RedisState, failures: &Failures) -> ConditionDraft {
    let type_ = conditions::GROUP_READY;
    let snapshot = match redis {
        RedisState::Read(snapshot) => snapshot,
        RedisState::Failed(failure) => {
            return ConditionDraft::new(type_, None, reasons::UNKNOWN, failure.message());
        }
        RedisState::NotRead => {
            return ConditionDraft::new(type_, None, reasons::UNKNOWN, NOT_READ);
        }
    };
    match snapshot.view.facts() {
        None => {
            let why = failures.group.as_deref().unwrap_or("it is being created");
            ConditionDraft::new(
                type_,
                Some(false),
                reasons::MISSING,
                format!("group {} is missing: {why}", desired.group),
            )
        }
        Some(group) if snapshot.view.is_ahead() => {
            let message = ahead_message(desired, snapshot, group);
            ConditionDraft::new(type_, Some(false), reasons::GROUP_AHEAD_OF_STREAM, message)
        }
        Some(group) => {
            // Neither an entry that cannot be fetched nor an unreadable key beside the stream affects the group.
            let problems = [unfetchable_message(desired, group), group.problem.clone()];
            let message = problems.into_iter().flatten().collect::<Vec<_>>().join("; ");
            ConditionDraft::new(type_, Some(true), reasons::EXISTS, message)
        }
    }
}

fn consumers_available(After { observed, failures, .. }: &After, replicas: u32) -> ConditionDraft {
    let draft = |status, reason, message| {
        ConditionDraft::new(conditions::CONSUMERS_AVAILABLE, status, reason, message)
    };
    if let Some(failure) = &failures.deployment {
        return draft(Some(false), reasons::CONSUMERS_UNAVAILABLE, failure.clone());
    }
    let deployment = &observed.deployment;
    if *deployment == DeploymentView::Foreign {
        return draft(Some(false), reasons::NAME_TAKEN, String::new());
    }
    let (ready, existing) = (deployment.ready_pods(), deployment.existing_pods());
    if replicas == 0 && existing == 0 {
        return draft(Some(true), reasons::NONE_DESIRED, String::new());
    }
    if let Some(problem) = deployment.ours().and_then(problem)
        && replicas > 0
    {
        return draft(Some(false), reasons::CONSUMERS_UNAVAILABLE, problem);
    }
    if replicas > 0 && ready == 0 {
        let mut message = format!("none of {replicas} desired pods is ready");
        if let Some(problem) = &observed.pod_problem {
            message = format!("{message}; {problem}");
        }
        return draft(Some(false), reasons::CONSUMERS_UNAVAILABLE, message);
    }
    if u64::from(replicas) == u64::try_from(ready).unwrap_or(0) && existing == ready {
        return draft(Some(true), reasons::AVAILABLE, String::new());
    }
    draft(Some(true), reasons::SCALING, format!("{ready} of {replicas} desired pods are ready"))
}

/// Returns the reason why the Deployment does not progress.
fn problem(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.iter().flat_map(|s| s.conditions.iter().flatten());
    conditions
        .filter(|c| {
            (c.type_ == "Progressing" && c.status == "False")
                || (c.type_ == "ReplicaFailure" && c.status == "True")
        })
        .map(|c| c.message.clone().unwrap_or_else(|| c.type_.clone()))
        .next()
}

#[cfg(test)]
mod tests;
