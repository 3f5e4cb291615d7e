//! Conditions from what was wanted, seen and done: above all Ready, whose reason is the STATE. Pure.

use eventbus::observe::GroupFacts;
use eventbus_api::conditions::{self, ConditionDraft};
use eventbus_api::reasons;
use k8s_openapi::api::apps::v1::Deployment;

use crate::observed::{Claim, DeploymentView, GroupView, Observed, RedisView, Trouble};
use crate::wanted::Wanted;
use crate::workload;

/// So many entries may wait for another attempt; consumers stop reading beyond.
const MAX_DELAYED: u64 = 10_000;
const NOT_ASKED: &str = "Redis was not asked yet";

/// What came of the steps of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Why the group could not be created.
    pub group: Option<String>,
    /// Why the Deployment could not be applied.
    pub deployment: Option<String>,
}

/// All conditions, Ready first.
#[must_use]
pub fn conditions(
    wanted: &Wanted,
    observed: &Observed,
    failures: &Failures,
) -> Vec<ConditionDraft> {
    let consumers = consumers_available(wanted, observed, failures);
    let mut all = vec![ready(wanted, observed, failures, &consumers)];
    if let Claim::Other { name } = &observed.claim {
        let message = conflict_message(wanted, name.as_deref());
        all.push(ConditionDraft::new(
            conditions::CONFLICT,
            Some(true),
            reasons::OLDER_RESOURCE,
            message,
        ));
    } else {
        all.push(redis_reachable(&observed.redis));
        all.push(stream_exists(wanted, &observed.redis));
        all.push(group_ready(wanted, &observed.redis, failures));
    }
    all.push(consumers);
    all
}

fn ready(
    wanted: &Wanted,
    observed: &Observed,
    failures: &Failures,
    consumers: &ConditionDraft,
) -> ConditionDraft {
    let no = |reason, message: String| {
        ConditionDraft::new(conditions::READY, Some(false), reason, message)
    };
    if observed.deployment == DeploymentView::Foreign {
        let name = workload::name(&wanted.resource);
        let message = format!(
            "Deployment {name} is not controlled by this resource; delete or rename it, or give this resource another name"
        );
        return no(reasons::NAME_TAKEN, message);
    }
    if let Claim::Other { name } = &observed.claim {
        return no(reasons::CONFLICT, conflict_message(wanted, name.as_deref()));
    }
    let view = match &observed.redis {
        RedisView::NotAsked => return no(reasons::REDIS_UNREACHABLE, NOT_ASKED.to_owned()),
        RedisView::Trouble(trouble) => {
            return no(trouble_reason(trouble), trouble.message().to_owned());
        }
        RedisView::Seen(view) => view,
    };
    let group = match (&view.group, &failures.group) {
        (Some(group), _) => group,
        (None, failure) => {
            let why = failure.as_deref().unwrap_or("it is being created");
            return no(reasons::GROUP_LOST, format!("group {} is missing: {why}", wanted.group));
        }
    };
    if view.is_ahead() {
        return no(reasons::GROUP_AHEAD_OF_STREAM, ahead_message(wanted, view, group));
    }
    if consumers.reason == reasons::CONSUMERS_UNAVAILABLE {
        return no(reasons::CONSUMERS_UNAVAILABLE, consumers.message.clone());
    }
    if group.delayed >= MAX_DELAYED {
        let message = format!("{MAX_DELAYED} entries wait for another attempt: no more are read");
        return no(reasons::RETRY_BACKLOG, message);
    }
    let has_work = view.backlog() != Some(0);
    if view.is_stalled && has_work && wanted.desired_replicas() > 0 {
        let message =
            "pods are ready and there is work, but for 60 s nothing was delivered or acknowledged";
        return no(reasons::STALLED, message.to_owned());
    }
    working(wanted, consumers, has_work)
}

/// What the user asked for is so; which state of it?
fn working(wanted: &Wanted, consumers: &ConditionDraft, has_work: bool) -> ConditionDraft {
    let (reason, message) = if wanted.suspend {
        (reasons::SUSPENDED, "no pods while suspend is true; the group keeps its position")
    } else if wanted.replicas == 0 && has_work {
        (reasons::STOPPED, "replicas is 0, and events are waiting")
    } else if consumers.reason == reasons::SCALING {
        (reasons::SCALING, "the number of ready pods is not the wanted one yet")
    } else if has_work {
        (reasons::CONSUMING, "events are being handled")
    } else {
        (reasons::IDLE, "all events are handled")
    };
    ConditionDraft::new(conditions::READY, Some(true), reason, message)
}

fn conflict_message(wanted: &Wanted, owner: Option<&str>) -> String {
    let owner = owner.map_or("a resource in another namespace".to_owned(), |o| format!("{o:?}"));
    format!(
        "group {} on stream {} of endpoint {} belongs to {owner}, which is older; this one takes over when that one is deleted",
        wanted.group, wanted.target.stream, wanted.target.endpoint
    )
}

fn ahead_message(wanted: &Wanted, view: &GroupView, group: &GroupFacts) -> String {
    format!(
        "group {} stands at {}, past the stream's last entry {}: new events would not reach it; set suspend: true and reset it",
        wanted.group, group.last_delivered, view.stream.last_generated
    )
}

/// The STATE that stands for a trouble.
#[must_use]
pub fn trouble_reason(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::AuthFailed(_) => reasons::AUTH_FAILED,
        Trouble::Unreachable(_) => reasons::REDIS_UNREACHABLE,
        Trouble::UnsupportedServer(_) => reasons::UNSUPPORTED_SERVER,
        Trouble::WrongType(_) => reasons::WRONG_TYPE,
    }
}

fn redis_reachable(redis: &RedisView) -> ConditionDraft {
    let type_ = conditions::REDIS_REACHABLE;
    match redis {
        // The server answered; what is wrong is the key.
        RedisView::Seen(_) | RedisView::Trouble(Trouble::WrongType(_)) => {
            ConditionDraft::new(type_, Some(true), reasons::ANSWERS, "")
        }
        RedisView::Trouble(trouble) => {
            ConditionDraft::new(type_, Some(false), trouble_reason(trouble), trouble.message())
        }
        RedisView::NotAsked => ConditionDraft::new(type_, None, reasons::UNKNOWN, NOT_ASKED),
    }
}

fn stream_exists(wanted: &Wanted, redis: &RedisView) -> ConditionDraft {
    let type_ = conditions::STREAM_EXISTS;
    match redis {
        RedisView::Seen(view) if view.stream_exists => {
            ConditionDraft::new(type_, Some(true), reasons::EXISTS, "")
        }
        RedisView::Seen(_) => {
            let message = format!("there is no stream {}", wanted.target.stream);
            ConditionDraft::new(type_, Some(false), reasons::MISSING, message)
        }
        RedisView::Trouble(Trouble::WrongType(message)) => {
            ConditionDraft::new(type_, Some(false), reasons::WRONG_TYPE, message)
        }
        RedisView::Trouble(trouble) => {
            ConditionDraft::new(type_, None, reasons::UNKNOWN, trouble.message())
        }
        RedisView::NotAsked => ConditionDraft::new(type_, None, reasons::UNKNOWN, NOT_ASKED),
    }
}

fn group_ready(wanted: &Wanted, redis: &RedisView, failures: &Failures) -> ConditionDraft {
    let type_ = conditions::GROUP_READY;
    let view = match redis {
        RedisView::Seen(view) => view,
        RedisView::Trouble(trouble) => {
            return ConditionDraft::new(type_, None, reasons::UNKNOWN, trouble.message());
        }
        RedisView::NotAsked => {
            return ConditionDraft::new(type_, None, reasons::UNKNOWN, NOT_ASKED);
        }
    };
    match &view.group {
        None => {
            let why = failures.group.as_deref().unwrap_or("it is being created");
            ConditionDraft::new(
                type_,
                Some(false),
                reasons::MISSING,
                format!("group {}: {why}", wanted.group),
            )
        }
        Some(group) if view.is_ahead() => {
            let message = ahead_message(wanted, view, group);
            ConditionDraft::new(type_, Some(false), reasons::GROUP_AHEAD_OF_STREAM, message)
        }
        Some(group) => {
            // A key beside the stream that cannot be read does not stop the group.
            let message = group.problem.clone().unwrap_or_default();
            ConditionDraft::new(type_, Some(true), reasons::EXISTS, message)
        }
    }
}

fn consumers_available(
    wanted: &Wanted,
    observed: &Observed,
    failures: &Failures,
) -> ConditionDraft {
    let said = |holds, reason, message| {
        ConditionDraft::new(conditions::CONSUMERS_AVAILABLE, holds, reason, message)
    };
    let is_loser = observed.claim != Claim::Ours;
    let desired = if is_loser { 0 } else { wanted.desired_replicas() };
    if let Some(failure) = &failures.deployment {
        return said(Some(false), reasons::CONSUMERS_UNAVAILABLE, failure.clone());
    }
    let deployment = match &observed.deployment {
        DeploymentView::Foreign => {
            return said(Some(false), reasons::NAME_TAKEN, String::new());
        }
        DeploymentView::Ours(deployment) => Some(&**deployment),
        DeploymentView::Absent => None,
    };
    let ready = deployment.map_or(0, ready_pods);
    let existing = deployment.map_or(0, pods);
    if desired == 0 && existing == 0 {
        return said(Some(true), reasons::NONE_WANTED, String::new());
    }
    if let Some(problem) = deployment.and_then(problem)
        && desired > 0
    {
        return said(Some(false), reasons::CONSUMERS_UNAVAILABLE, problem);
    }
    if desired > 0 && ready == 0 {
        let mut message = format!("none of {desired} wanted pods is ready");
        if let Some(problem) = &observed.pod_problem {
            message = format!("{message}; {problem}");
        }
        return said(Some(false), reasons::CONSUMERS_UNAVAILABLE, message);
    }
    if u64::from(desired) == u64::try_from(ready).unwrap_or(0) && existing == ready {
        return said(Some(true), reasons::AVAILABLE, String::new());
    }
    said(Some(true), reasons::SCALING, format!("{ready} of {desired} wanted pods are ready"))
}

/// Why the Deployment gets no further.
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

/// Pods that are ready.
#[must_use]
pub fn ready_pods(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

/// Pods that exist.
#[must_use]
pub fn pods(deployment: &Deployment) -> i32 {
    deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0)
}

#[cfg(test)]
mod tests;
