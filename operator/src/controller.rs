//! The way of a resource: watch, validate, observe, decide, apply, status.

mod feed;

use std::sync::Arc;
use std::time::Duration;

use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus, GroupOrigin, reasons};
use eventbus_core::retry::backoff::Backoff;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::apply::{self, Applied};
use crate::context::{self, Context};
use crate::error::Error;
use crate::observe::{self, observe};
use crate::observed::{DeploymentView, Observed, RedisView};
use crate::plan::{self, Plan};
use crate::status::{self, Input};
use crate::validate::{Refusal, resource_id, validate};
use crate::wake::Guarded;
use crate::wanted::Wanted;
use crate::{events, hash};

pub use feed::{Feed, drive, feeds};

/// A resource at rest is looked at again after this long, in case something was missed.
const REST: Duration = Duration::from_secs(300);
/// A resource that waits for the first answer of Redis is woken by it; this is in case it is not.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// A resource whose name is taken is not told when it is free.
const NAME_TAKEN: Duration = Duration::from_secs(5);
/// Pods that do not start may have another reason for it by then.
const NO_POD: Duration = Duration::from_secs(10);
/// A watch that cannot begin, such as one of a namespace without rights, must not hold up all others for longer.
const SYNC: Duration = Duration::from_secs(10);
/// Between failed reconciles of one resource.
const FAILURES: Backoff = Backoff {
    initial: Duration::from_secs(1),
    max: Duration::from_secs(60),
    multiplier: 2,
    jitter_percent: 0,
};

/// Brings one resource a step nearer to what it asks for.
async fn reconcile(guarded: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let resource = match &guarded.0 {
        Ok(resource) => resource,
        Err(invalid) => {
            let (namespace, name) = (guarded.namespace().unwrap_or_default(), guarded.name_any());
            tracing::warn!(namespace, name, error = %invalid.error, "this resource cannot be read");
            return Ok(Action::await_change());
        }
    };
    // Who has a group is decided among all resources.
    tokio::time::timeout(SYNC, context.until_synced()).await.ok();
    let began = context::now();
    let result = steps(resource, &context).await;
    let failure = result.as_ref().err().map(Error::label);
    context.metrics.reconciled(context::now().saturating_duration_since(began), failure);
    if result.is_ok() {
        context.memory.succeeded(&resource.uid().unwrap_or_default());
    }
    result
}

async fn steps(resource: &EventConsumerGroup, context: &Context) -> Result<Action, Error> {
    if resource.metadata.deletion_timestamp.is_some() {
        // Its children go with it; the group stays.
        return Ok(Action::await_change());
    }
    let standing = standing(context, resource);
    let wanted = match validate(resource, &context.endpoints, &context.settings.consumer_image) {
        Ok(wanted) => wanted,
        Err(refusal) => return refuse(context, resource, standing.as_ref(), &refusal).await,
    };
    let Some(mut observed) = observe(context, &wanted).await? else {
        return Ok(Action::requeue(FIRST_ANSWER));
    };
    let target_hash = target_hash(context, &wanted);
    let plan = plan::decide(&wanted, &observed, standing.as_ref(), &target_hash);
    let mut applied = apply::run(context, &wanted, &observed, &plan).await?;
    if let Some(deployment) = applied.deployment.take() {
        observed.deployment = DeploymentView::Ours(Box::new(deployment));
    }
    let origin = note_origin(context, resource, &wanted, &plan, &applied).await;
    if applied.creation.is_some() {
        // The numbers of the new group belong into the first status.
        context.sweeps.refresh(&wanted.target).await;
        if let Some(view) = context.sweeps.view(&wanted) {
            observed.redis = view;
        }
    }
    let new = status::build(
        &wanted,
        &Input {
            observed: &observed,
            origin,
            failures: &applied.failures,
            target_hash: &target_hash,
            previous: standing.as_ref(),
            now: context::wall_clock(),
        },
    );
    let moving = matches!(&observed.redis, RedisView::Seen(view) if view.is_moving);
    let rest = rest(&observed, &applied, &new);
    let again = apply::status(context, resource, standing.as_ref(), new, moving).await?;
    // The status tells it too by now.
    applied.error.map_or_else(|| Ok(Action::requeue(again.unwrap_or(rest))), Err)
}

/// When to look again where nothing wakes us: once everything is written, and what we wait for tells nobody.
fn rest(observed: &Observed, applied: &Applied, status: &EventConsumerGroupStatus) -> Duration {
    let ready = status::ready(status);
    match observed.deployment {
        DeploymentView::Foreign => NAME_TAKEN,
        _ if applied.failures.group.is_some() => FIRST_ANSWER,
        _ if ready.is_some_and(|ready| ready.reason == reasons::CONSUMERS_UNAVAILABLE) => NO_POD,
        _ => REST,
    }
}

/// Nothing is created or changed but the status.
async fn refuse(
    context: &Context,
    resource: &EventConsumerGroup,
    standing: Option<&EventConsumerGroupStatus>,
    refusal: &Refusal,
) -> Result<Action, Error> {
    let id = resource_id(resource);
    context.sweeps.leave(&id.uid);
    let deployment = observe::deployment(context, &id).await?;
    let new = status::refused(&id, refusal, &deployment, standing, context::wall_clock());
    let again = apply::status(context, resource, standing, new, false).await?;
    Ok(Action::requeue(again.unwrap_or(REST)))
}

fn standing(context: &Context, resource: &EventConsumerGroup) -> Option<EventConsumerGroupStatus> {
    let uid = resource.uid().unwrap_or_default();
    let version = resource.metadata.resource_version.as_deref();
    context.memory.standing(&uid, resource.status.as_ref(), version)
}

/// How the operator came to the group: remembered from its creation on until a status tells it.
async fn note_origin(
    context: &Context,
    resource: &EventConsumerGroup,
    wanted: &Wanted,
    plan: &Plan,
    applied: &Applied,
) -> Option<GroupOrigin> {
    let uid = &wanted.resource.uid;
    let origin = plan.origin.filter(|_| applied.failures.group.is_none());
    // A creation whose numbers came too late is tried again, and finds the group that it made.
    let is_new = context.memory.origin(uid).is_none();
    if let (Some(origin), Some(creation), true) = (origin, &applied.creation, is_new) {
        let existed = matches!(creation, eventbus::admin::GroupCreation::Existed { .. });
        let origin = if existed { GroupOrigin::Adopted } else { origin };
        context.memory.set_origin(uid, origin);
        events::created(context, resource, wanted, origin, creation).await;
    }
    context.memory.origin(uid).or(origin)
}

/// Stands for the address and database behind an endpoint's name.
fn target_hash(context: &Context, wanted: &Wanted) -> String {
    let endpoint = context.endpoints.get(&wanted.target.endpoint);
    let address = endpoint.map_or(String::new(), |endpoint| endpoint.redis.endpoint());
    format!("{:016x}", hash::of(&address))
}

/// What follows a failed reconcile: another one, later each time.
fn after_failure(guarded: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let (namespace, name) = (guarded.namespace().unwrap_or_default(), guarded.name_any());
    let failures = context.memory.failed(&guarded.uid().unwrap_or_default());
    tracing::warn!(namespace, name, failures, error = error.told(), "reconcile failed");
    Action::requeue(FAILURES.delay(failures, 0.5))
}
