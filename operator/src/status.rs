//! The status, built whole from what was wanted, seen and done. Pure.

use std::time::Duration;

use eventbus::EntryId;
use eventbus::observe::{ConsumerFacts, GroupFacts};
use eventbus_api::conditions::{self, ConditionDraft};
use eventbus_api::{
    ConsumerStatus, ConsumersStatus, DeadLetterStatus, Display, EventConsumerGroupStatus,
    GroupOrigin, LagSource, PositionStatus, RedisStatus,
};
use eventbus_core::lag;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::observed::{Claim, DeploymentView, GroupView, Observed, RedisView};
use crate::state::{self, Failures};
use crate::validate::Refusal;
use crate::wanted::{ResourceId, Wanted};
use crate::workload;

const MOST_CONSUMERS: usize = 50;

/// What the status is built from besides the resource itself.
pub struct Input<'a> {
    /// What is there.
    pub observed: &'a Observed,
    /// How the operator came to the group, where that is known.
    pub origin: Option<GroupOrigin>,
    /// What could not be done.
    pub failures: &'a Failures,
    /// Stands for address and database of the Redis.
    pub target_hash: &'a str,
    /// The status before.
    pub previous: Option<&'a EventConsumerGroupStatus>,
    /// The time, for `lastCheck` and transitions.
    pub now: Timestamp,
}

/// The status of a valid resource.
#[must_use]
pub fn build(wanted: &Wanted, input: &Input<'_>) -> EventConsumerGroupStatus {
    let now = to_the_second(input.now);
    let said = state::conditions(wanted, input.observed, input.failures);
    let is_loser = input.observed.claim != Claim::Ours;
    let desired = if is_loser { 0 } else { wanted.desired_replicas() };
    let mut status = base(&wanted.resource, &input.observed.deployment, desired);
    status.group = Some(wanted.group.to_string());
    status.conditions = finished(said, &wanted.resource, input.previous, now);
    if let Claim::Other { name } = &input.observed.claim {
        status.conflicts_with.clone_from(name);
        return status;
    }
    let hash = target_hash(input);
    // What is known of another Redis means nothing in this one.
    let previous = input.previous.filter(|previous| recorded_hash(previous) == Some(hash));
    status.group_origin = input.origin.or_else(|| previous.and_then(|p| p.group_origin));
    status.dead_letter = Some(DeadLetterStatus {
        stream: Some(wanted.target.stream.dead_letters(&wanted.group).to_string()),
        ..DeadLetterStatus::default()
    });
    status.redis = Some(RedisStatus {
        endpoint: Some(wanted.target.endpoint.clone()),
        target_hash: Some(hash.to_owned()),
        ..RedisStatus::default()
    });
    // What a group had done is needed for as long as it is away, for whatever reason.
    keep_position(&mut status, previous);
    // In an outage the last look that succeeded is what people want to know.
    status.last_check = previous.and_then(|previous| previous.last_check.clone());
    if let RedisView::Seen(view) = &input.observed.redis {
        fill(&mut status, view, now);
    }
    status
}

/// The Redis that the status speaks of: another one than before once it has answered.
fn target_hash<'a>(input: &Input<'a>) -> &'a str {
    let before = input.previous.and_then(recorded_hash);
    match &input.observed.redis {
        RedisView::Seen(_) => input.target_hash,
        RedisView::Trouble(_) | RedisView::NotAsked => before.unwrap_or(input.target_hash),
    }
}

/// What stands for the Redis that a status speaks of.
#[must_use]
pub fn recorded_hash(status: &EventConsumerGroupStatus) -> Option<&str> {
    status.redis.as_ref().and_then(|redis| redis.target_hash.as_deref())
}

/// The status of a resource that is refused: nothing is known but its pods, if it had some.
#[must_use]
pub fn refused(
    resource: &ResourceId,
    refusal: &Refusal,
    deployment: &DeploymentView,
    previous: Option<&EventConsumerGroupStatus>,
    now: Timestamp,
) -> EventConsumerGroupStatus {
    let wanted = match deployment {
        DeploymentView::Ours(deployment) => deployment.spec.as_ref().and_then(|spec| spec.replicas),
        DeploymentView::Absent | DeploymentView::Foreign => None,
    };
    let wanted = wanted.and_then(|replicas| u32::try_from(replicas).ok()).unwrap_or(0);
    let said =
        ConditionDraft::new(conditions::READY, Some(false), refusal.reason, &*refusal.message);
    let mut status = base(resource, deployment, wanted);
    status.conditions = finished(vec![said], resource, previous, to_the_second(now));
    if let Some(previous) = previous {
        // A field that is set for a moment must not cost the group its position.
        status.group_origin = previous.group_origin;
        status.redis.clone_from(&previous.redis);
        keep_position(&mut status, Some(previous));
    }
    status
}

/// Whether `new` tells something that `old` does not: times of reading and idle times alone are nothing new.
#[must_use]
pub fn differs(old: &EventConsumerGroupStatus, new: &EventConsumerGroupStatus) -> bool {
    let told = |status: &EventConsumerGroupStatus| {
        let mut status = status.clone();
        status.last_check = None;
        if let Some(position) = &mut status.position {
            position.recorded_at = None;
        }
        for consumer in status.consumers.iter_mut().flat_map(|consumers| &mut consumers.items) {
            consumer.idle = None;
        }
        status
    };
    told(old) != told(new)
}

fn base(
    resource: &ResourceId,
    deployment: &DeploymentView,
    desired: u32,
) -> EventConsumerGroupStatus {
    let ours: Option<&Deployment> = match deployment {
        DeploymentView::Ours(deployment) => Some(deployment),
        DeploymentView::Absent | DeploymentView::Foreign => None,
    };
    let (existing, ready) = (ours.map_or(0, state::pods), ours.map_or(0, state::ready_pods));
    EventConsumerGroupStatus {
        observed_generation: Some(resource.generation),
        replicas: Some(existing),
        ready_replicas: Some(ready),
        desired_replicas: i32::try_from(desired).ok(),
        selector: Some(workload::selector(resource)),
        lag_source: Some(LagSource::Unknown),
        display: Some(Display {
            lag: Some(lag::Lag::UNKNOWN.to_string()),
            replicas: Some(format!("{ready}/{desired}")),
        }),
        ..EventConsumerGroupStatus::default()
    }
}

fn finished(
    said: Vec<ConditionDraft>,
    resource: &ResourceId,
    previous: Option<&EventConsumerGroupStatus>,
    now: Timestamp,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let before = previous.map_or(&[][..], |status| &status.conditions);
    said.into_iter().map(|said| said.complete(before, resource.generation, now)).collect()
}

fn keep_position(
    status: &mut EventConsumerGroupStatus,
    previous: Option<&EventConsumerGroupStatus>,
) {
    status.position = previous.and_then(|previous| previous.position.clone());
}

fn fill(status: &mut EventConsumerGroupStatus, view: &GroupView, now: Timestamp) {
    status.last_check = Some(Time(now));
    let redis = status.redis.get_or_insert_default();
    redis.version = Some(view.server.version.clone());
    redis.mode = Some(view.server.mode.clone());
    status.unmanaged_groups.clone_from(&view.unmanaged);
    if view.stream_exists {
        status.stream_length = Some(view.stream.length);
    }
    let Some(group) = &view.group else {
        return;
    };
    status.lag = view.lag.value;
    status.lag_source = Some(lag_source(view.lag.source));
    status.display.get_or_insert_default().lag = Some(view.lag.to_string());
    status.pending = Some(group.pending);
    status.retrying = Some(group.delayed);
    status.backlog = view.backlog();
    // An ID may lie in the future: its publisher's clock, or its publisher's wish. An age is never below zero.
    let added = |id: EntryId| time_of(EntryId { ms: id.ms.min(view.stream.server_ms), ..id });
    status.oldest_undelivered_time = group.oldest_undelivered.and_then(added);
    status.oldest_pending_time = group.oldest_pending.and_then(added);
    status.oldest_unprocessed_time = group.oldest_unprocessed().and_then(added);
    status.position = Some(position(view, group, now));
    status.consumers = Some(consumers(&group.consumers, view.stream.server_ms));
    if let Some(letters) = group.dead_letters {
        let status = status.dead_letter.get_or_insert_default();
        status.length = Some(letters.length);
        status.last_time = letters.last_ms.and_then(|ms| time_of(EntryId { ms, seq: 0 }));
    }
}

fn position(view: &GroupView, group: &GroupFacts, now: Timestamp) -> PositionStatus {
    let resume = group.oldest_pending.map_or(group.last_delivered, EntryId::before);
    PositionStatus {
        last_delivered_id: Some(group.last_delivered.to_string()),
        last_generated_id: Some(view.stream.last_generated.to_string()),
        first_entry_id: view.stream.first_entry.map(|id| id.to_string()),
        resume_id: Some(resume.min(group.last_delivered).to_string()),
        entries_read: group.entries_read,
        entries_added: Some(view.stream.entries_added),
        max_deleted_id: Some(view.stream.max_deleted.to_string()),
        recorded_at: Some(Time(now)),
    }
}

fn consumers(facts: &[ConsumerFacts], server_ms: u64) -> ConsumersStatus {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let live = facts.iter().filter(|consumer| consumer.is_live(server_ms)).count();
    let mut busiest: Vec<&ConsumerFacts> = facts.iter().collect();
    busiest.sort_by(|a, b| b.pending.cmp(&a.pending).then_with(|| a.name.cmp(&b.name)));
    ConsumersStatus {
        total: count(facts.len()),
        live: count(live),
        stale: count(facts.len() - live),
        items: busiest.into_iter().take(MOST_CONSUMERS).map(consumer).collect(),
    }
}

fn consumer(facts: &ConsumerFacts) -> ConsumerStatus {
    let pod = facts.heartbeat.and(facts.name.rsplit_once('/')).map(|(pod, _)| pod.to_owned());
    let idle = Duration::from_secs(facts.idle.as_secs());
    ConsumerStatus {
        name: facts.name.clone(),
        pod,
        pending: facts.pending,
        idle: Some(eventbus_core::time::format(idle)),
    }
}

fn lag_source(source: lag::LagSource) -> LagSource {
    match source {
        lag::LagSource::Exact => LagSource::Exact,
        lag::LagSource::Counted => LagSource::Counted,
        lag::LagSource::Reported => LagSource::Reported,
        lag::LagSource::AtLeast => LagSource::AtLeast,
        lag::LagSource::Unknown => LagSource::Unknown,
    }
}

/// When an entry was added, by its ID; nothing for an ID that is no time.
fn time_of(id: EntryId) -> Option<Time> {
    Timestamp::from_second(i64::try_from(id.ms / 1_000).ok()?).ok().map(Time)
}

/// Kubernetes keeps whole seconds: a status with more would differ from itself when it is read back.
fn to_the_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The condition Ready of a status.
#[must_use]
pub fn ready(
    status: &EventConsumerGroupStatus,
) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    conditions::find(&status.conditions, conditions::READY)
}

#[cfg(test)]
mod tests;
