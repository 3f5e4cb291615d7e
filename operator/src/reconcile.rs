//! The pipeline: validate, observe, decide, apply, status.
//!
//! `validate`, `claim`, `plan`, `outcome` and the building of the status are pure; `observe`, `apply` and the writing of
//! the status act. `context` has what the steps share.

mod apply;
pub mod claim;
pub(crate) mod context;
pub mod desired;
mod memory;
mod observe;
pub mod observed;
pub mod outcome;
pub mod plan;
mod status;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use eventbus_api::{
    EventConsumerGroup, EventConsumerGroupStatus, GroupOrigin, ResourceId, reasons,
};
use eventbus_core::retry::backoff::Backoff;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::error::Error;
use crate::kubernetes::MaybeInvalid;
use crate::workload::DeploymentView;

use self::context::Context;
use self::desired::Desired;
use self::observe::observe;
use self::outcome::{After, Applied};
use self::plan::Plan;
use self::validate::{Refusal, validate};

/// Requeue of a resource without changes, in case an event was missed.
const REST: Duration = Duration::from_secs(300);
/// Requeue of a resource that waits for the first read of Redis, in case the observer does not requeue it.
const FIRST_READ: Duration = Duration::from_secs(5);
/// Requeue of a resource whose name is taken: the deletion of the other object is not watched.
const NAME_TAKEN: Duration = Duration::from_secs(5);
/// Requeue of a resource without a ready pod: the reason may change.
const NO_POD: Duration = Duration::from_secs(10);
/// Maximum wait for the caches: a watch that cannot start, such as one of a namespace without permissions, must not block
/// the other resources.
const SYNC: Duration = Duration::from_secs(10);
/// Backoff between failed reconciles of one resource.
const FAILURES: Backoff = Backoff {
    initial: Duration::from_secs(1),
    max: Duration::from_secs(60),
    multiplier: 2,
    jitter_percent: 0,
};

/// Reconciles one resource.
pub(crate) async fn reconcile(
    resource: Arc<MaybeInvalid>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let resource = match &resource.0 {
        Ok(resource) => resource,
        Err(invalid) => {
            let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
            tracing::warn!(namespace, name, error = %invalid.error, "cannot parse the resource; it is not reconciled");
            return Ok(Action::await_change());
        }
    };
    // The owner of a group is decided among all resources.
    tokio::time::timeout(SYNC, context.caches.wait_for_sync()).await.ok();
    let began = context::now();
    let result = steps(resource, &context).await;
    let failure = result.as_ref().err().map(Error::label);
    context.metrics.reconciled(context::now().saturating_duration_since(began), failure);
    if result.is_ok() {
        context.memory.succeeded(&resource.uid().unwrap_or_default());
    }
    result
}

/// Returns the requeue after a failed reconcile, with a delay that grows.
pub(crate) fn after_failure(
    resource: Arc<MaybeInvalid>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let failures = context.memory.failed(&resource.uid().unwrap_or_default());
    tracing::warn!(namespace, name, failures, error = error.report(), "reconcile failed");
    Action::requeue(FAILURES.delay(failures, 0.5))
}

async fn steps(resource: &EventConsumerGroup, context: &Context) -> Result<Action, Error> {
    if resource.metadata.deletion_timestamp.is_some() {
        // Kubernetes deletes its children; the group is kept.
        return Ok(Action::await_change());
    }
    let last = last_status(context, resource);
    let last = last.as_ref();
    // Pure.
    let (image, api_server) = (&context.settings.consumer_image, context.settings.api_server);
    let desired = match validate(resource, &context.endpoints, image, api_server) {
        Ok(desired) => desired,
        Err(refusal) => return refuse(context, resource, last, &refusal).await,
    };
    // Reads from the caches, the API server and the observers of Redis.
    let Some(observed) = observe(context, &desired).await? else {
        return Ok(Action::requeue(FIRST_READ));
    };
    // Pure.
    let plan = plan::decide(&desired, &observed, last);
    // Writes to Redis and the API server.
    let applied = apply::run(context, &desired, &observed, &plan).await?;
    // Writes an Event, once.
    let origin = record_origin(context, resource, &desired, &plan, &applied).await;
    // Reads from Redis.
    let read_again = observe::read_again(context, &desired, &applied).await;
    // Pure.
    let after = After::new(observed, &applied, read_again, origin);
    // Pure.
    let new = status::build(&desired, &after, &plan, last, context::wall_clock());
    // Pure.
    let rest = rest(&after, &new);
    // Writes to the API server.
    let again = status::write(context, resource, last, new, after.is_moving()).await?;
    // The status reports the error, too.
    applied.error.map_or_else(|| Ok(Action::requeue(again.unwrap_or(rest))), Err)
}

/// Returns the delay of the next reconcile when everything is written and no event causes one earlier.
fn rest(after: &After, status: &EventConsumerGroupStatus) -> Duration {
    let reason = status.ready().map(|ready| &*ready.reason);
    match after.observed.deployment {
        DeploymentView::Foreign => NAME_TAKEN,
        _ if after.failures.group.is_some() => FIRST_READ,
        _ if reason == Some(reasons::CONSUMERS_UNAVAILABLE) => NO_POD,
        _ => REST,
    }
}

/// Writes the refusal into the status and nothing else.
async fn refuse(
    context: &Context,
    resource: &EventConsumerGroup,
    last: Option<&EventConsumerGroupStatus>,
    refusal: &Refusal,
) -> Result<Action, Error> {
    let id = ResourceId::of(resource);
    context.observers.leave(&id.uid);
    context.memory.owned().remove(&id.uid);
    let deployment = observe::deployment(context, &id).await?;
    let new = status::refused(&id, refusal, &deployment, last, context::wall_clock());
    let again = status::write(context, resource, last, new, false).await?;
    Ok(Action::requeue(again.unwrap_or(REST)))
}

fn last_status(
    context: &Context,
    resource: &EventConsumerGroup,
) -> Option<EventConsumerGroupStatus> {
    let uid = resource.uid().unwrap_or_default();
    let version = resource.metadata.resource_version.as_deref();
    context.memory.last_status(&uid, resource.status.as_ref(), version)
}

/// Returns the origin of the group. A creation is remembered until a status has it, and gets an Event.
async fn record_origin(
    context: &Context,
    resource: &EventConsumerGroup,
    desired: &Desired,
    plan: &Plan,
    applied: &Applied,
) -> Option<GroupOrigin> {
    let uid = &desired.resource.uid;
    let remembered = context.memory.origin(uid);
    let origin = applied.origin(plan, remembered)?;
    if let (Some(creation), None) = (&applied.creation, remembered) {
        context.memory.set_origin(uid, origin);
        status::events::created(context, resource, desired, origin, creation).await;
    }
    Some(origin)
}
