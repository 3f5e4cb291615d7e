//! Builds the status from the desired state and the state after the plan. Pure.

use std::time::Duration;

use eventbus::EntryId;
use eventbus::observe::{ConsumerFacts, GroupFacts, GroupView};
use eventbus_api::conditions::{ConditionDraft, READY};
use eventbus_api::{
    ClaimStatus, ConsumerStatus, ConsumersStatus, DeadLetterStatus, Display,
    EventConsumerGroupStatus, LagSource, PositionStatus, RedisStatus, ResourceId,
};
use eventbus_core::lag;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::reconcile::claim::Claim;
use crate::reconcile::desired::Desired;
use crate::reconcile::observed::Observed;
use crate::reconcile::outcome::After;
use crate::reconcile::plan::Plan;
use crate::reconcile::validate::Refusal;
use crate::redis::state::{GroupSnapshot, RedisState};
use crate::workload::{self, DeploymentView};

use super::conditions::conditions;

/// Maximum number of consumers that are listed.
const MAX_CONSUMERS: usize = 50;

/// Builds the status of a valid resource. `last` is the last status, `now` the time of `lastCheck` and transitions.
pub(in crate::reconcile) fn build(
    desired: &Desired,
    after: &After,
    plan: &Plan,
    last: Option<&EventConsumerGroupStatus>,
    now: Timestamp,
) -> EventConsumerGroupStatus {
    let (now, observed) = (to_the_second(now), &after.observed);
    let conditions = conditions(desired, after, plan.replicas);
    let mut status = base(&desired.resource, &observed.deployment, plan.replicas);
    status.group = Some(desired.group.to_string());
    status.claim = Some(ClaimStatus {
        endpoint: desired.target.endpoint.clone(),
        target_hash: claim_hash(observed, last).to_owned(),
        claimed_at: Time(observed.claimed_at.unwrap_or(now)),
    });
    status.conditions = complete(conditions, &desired.resource, last, now);
    if let Claim::Other { name } = &observed.claim {
        status.conflicts_with.clone_from(name);
        return status;
    }
    let hash = target_hash(observed, last);
    // The numbers of another Redis server must not be used for this one.
    let last = last.filter(|last| last.target_hash() == Some(hash));
    // The group of another server that was asked for is not the one that has this origin.
    let same = last.filter(|_| observed.claimed_at.is_some());
    status.group_origin = after.origin.or_else(|| same.and_then(|last| last.group_origin));
    status.dead_letter = Some(DeadLetterStatus {
        stream: Some(desired.target.stream.dead_letters(&desired.group).to_string()),
        ..DeadLetterStatus::default()
    });
    status.redis = Some(RedisStatus {
        endpoint: Some(desired.target.endpoint.clone()),
        target_hash: Some(hash.to_owned()),
        ..RedisStatus::default()
    });
    // The position is needed to recreate a missing group.
    keep_position(&mut status, last);
    // During an outage it shows the time of the last successful read.
    status.last_check = last.and_then(|last| last.last_check.clone());
    if let RedisState::Read(snapshot) = &observed.redis {
        fill(&mut status, snapshot, now);
    }
    status
}

/// Returns the hash of the Redis server that the status describes: a new one only after it has responded.
fn target_hash<'a>(observed: &'a Observed, last: Option<&'a EventConsumerGroupStatus>) -> &'a str {
    let before = last.and_then(EventConsumerGroupStatus::target_hash);
    match &observed.redis {
        RedisState::Read(_) => &observed.target_hash,
        RedisState::Failed(_) | RedisState::NotRead => before.unwrap_or(&observed.target_hash),
    }
}

/// Returns the hash of the Redis server of the claim: of a claim that is not new, another one only after it has responded.
fn claim_hash<'a>(observed: &'a Observed, last: Option<&'a EventConsumerGroupStatus>) -> &'a str {
    let before = last.and_then(|last| last.claim.as_ref()).map(|claim| &*claim.target_hash);
    match (&observed.redis, observed.claimed_at) {
        (RedisState::Read(_), _) | (_, None) => &observed.target_hash,
        (_, Some(_)) => before.unwrap_or(&observed.target_hash),
    }
}

/// Builds the status of a refused resource, of which only the pods are known.
pub(in crate::reconcile) fn refused(
    resource: &ResourceId,
    refusal: &Refusal,
    deployment: &DeploymentView,
    last: Option<&EventConsumerGroupStatus>,
    now: Timestamp,
) -> EventConsumerGroupStatus {
    let replicas = deployment.spec_replicas().and_then(|replicas| u32::try_from(replicas).ok());
    let mut status = base(resource, deployment, replicas.unwrap_or(0));
    let ready = ConditionDraft::new(READY, Some(false), refusal.reason, &*refusal.message);
    status.conditions = complete(vec![ready], resource, last, to_the_second(now));
    if let Some(last) = last {
        // The group keeps its owner and its position until the invalid field is corrected.
        status.claim.clone_from(&last.claim);
        status.group_origin = last.group_origin;
        status.redis.clone_from(&last.redis);
        keep_position(&mut status, Some(last));
    }
    status
}

fn base(
    resource: &ResourceId,
    deployment: &DeploymentView,
    desired: u32,
) -> EventConsumerGroupStatus {
    let (existing, ready) = (deployment.existing_pods(), deployment.ready_pods());
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

fn complete(
    drafts: Vec<ConditionDraft>,
    resource: &ResourceId,
    last: Option<&EventConsumerGroupStatus>,
    now: Timestamp,
) -> Vec<Condition> {
    let before = last.map_or(&[][..], |status| &status.conditions);
    drafts.into_iter().map(|draft| draft.complete(before, resource.generation, now)).collect()
}

fn keep_position(status: &mut EventConsumerGroupStatus, last: Option<&EventConsumerGroupStatus>) {
    status.position = last.and_then(|last| last.position.clone());
}

fn fill(status: &mut EventConsumerGroupStatus, snapshot: &GroupSnapshot, now: Timestamp) {
    status.last_check = Some(Time(now));
    let (redis, server) = (status.redis.get_or_insert_default(), &snapshot.view.snapshot().server);
    let known = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    (redis.version, redis.mode) = (known(&server.version), known(&server.mode));
    status.unmanaged_groups.clone_from(&snapshot.unmanaged);
    if snapshot.stream().exists {
        status.stream_length = Some(snapshot.stream().length);
    }
    let Some(group) = snapshot.view.facts() else {
        return;
    };
    status.lag = snapshot.view.lag().value;
    status.lag_source = Some(lag_source(snapshot.view.lag().source));
    status.display.get_or_insert_default().lag = Some(snapshot.view.lag().to_string());
    status.pending = Some(group.pending);
    status.retrying = Some(group.delayed);
    status.backlog = snapshot.view.backlog();
    // An ID may be in the future, by a publisher's clock or choice. An age is never negative.
    let added = |id: EntryId| time_of(EntryId { ms: id.ms.min(snapshot.stream().server_ms), ..id });
    status.oldest_undelivered_time = group.oldest_undelivered.and_then(added);
    status.oldest_pending_time = group.oldest_pending.and_then(added);
    status.oldest_unprocessed_time = group.oldest_unprocessed().and_then(added);
    status.position = Some(position(snapshot, group));
    status.consumers = consumers(&snapshot.view);
    if let Some(letters) = group.dead_letters {
        let status = status.dead_letter.get_or_insert_default();
        status.length = Some(letters.length);
        status.dropped = letters.dropped;
        status.last_time = letters.last_ms.and_then(|ms| time_of(EntryId { ms, seq: 0 }));
    }
}

fn position(snapshot: &GroupSnapshot, group: &GroupFacts) -> PositionStatus {
    let resume = group.oldest_pending.map_or(group.last_delivered, EntryId::before);
    PositionStatus {
        last_delivered_id: Some(group.last_delivered.to_string()),
        last_generated_id: Some(snapshot.stream().last_generated.to_string()),
        first_entry_id: snapshot.stream().first_entry.map(|id| id.to_string()),
        resume_id: Some(resume.min(group.last_delivered).to_string()),
        entries_read: group.entries_read,
        entries_added: Some(snapshot.stream().entries_added),
        max_deleted_id: Some(snapshot.stream().max_deleted.to_string()),
        recorded_at: time_of(EntryId { ms: snapshot.stream().server_ms, seq: 0 }),
    }
}

/// Returns the consumers of a group; `None` where they could not be read.
fn consumers(view: &GroupView) -> Option<ConsumersStatus> {
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let counts = view.consumers()?;
    let mut busiest: Vec<&ConsumerFacts> = view.facts()?.consumers.iter().collect();
    busiest.sort_by(|a, b| b.pending.cmp(&a.pending).then_with(|| a.name.cmp(&b.name)));
    Some(ConsumersStatus {
        total: count(counts.total),
        live: count(counts.live),
        stale: count(counts.stale),
        items: busiest.into_iter().take(MAX_CONSUMERS).map(consumer).collect(),
    })
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

/// Returns the time at which an entry was added, by its ID; `None` for an ID beyond the range of times.
fn time_of(id: EntryId) -> Option<Time> {
    Timestamp::from_second(i64::try_from(id.ms / 1_000).ok()?).ok().map(Time)
}

/// Returns `time` in whole seconds, as Kubernetes stores it; with fractions, a status would differ when it is read back.
fn to_the_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
