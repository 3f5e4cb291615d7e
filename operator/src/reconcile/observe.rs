//! Observes one resource: reads from the caches, the API server and the observers of Redis.

use eventbus_api::ResourceId;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use crate::error::Error;
use crate::kubernetes::calls::within;
use crate::redis::state::RedisState;
use crate::redis::{GroupKey, target_hash};
use crate::workload::{self, DeploymentView};

use super::claim::{self, Candidate, Claim};
use super::context::Context;
use super::desired::Desired;
use super::last_status;
use super::observed::Observed;
use super::outcome::Applied;

/// Observes the resource; `None` if the resource was deleted, or its stream has not been read yet and that has not failed
/// either.
///
/// # Errors
/// [`Error`] if the API server fails.
pub(super) async fn observe(
    context: &Context,
    desired: &Desired,
) -> Result<Option<Observed>, Error> {
    let deployment = deployment(context, &desired.resource).await?;
    let target_hash = target_hash(&context.endpoints.address(&desired.target.endpoint));
    let Some((claim, claimed_at)) = claim(context, desired) else {
        // Deleted meanwhile: a further step could interfere with the next owner.
        return Ok(None);
    };
    let Some(redis) = redis(context, desired, &claim, deployment.ready_pods() > 0) else {
        return Ok(None);
    };
    let pod_problem = match claim {
        Claim::Ours => pod_problem(context, desired, &deployment).await,
        Claim::Other { .. } => None,
    };
    let uid = &desired.resource.uid;
    let is_declared = context.memory.is_declared(uid, &target_hash, &desired.declaration());
    Ok(Some(Observed {
        claim,
        claimed_at,
        redis,
        target_hash,
        deployment,
        pod_problem,
        is_declared,
    }))
}

/// Decides the owner among the cached resources, and returns the time of the claim of `desired`; `None` if it is no longer
/// one of the resources.
fn claim(context: &Context, desired: &Desired) -> Option<(Claim, Option<Timestamp>)> {
    let endpoints = &context.endpoints;
    let key = GroupKey {
        address: endpoints.address(&desired.target.endpoint),
        stream: desired.target.stream.to_string(),
        group: desired.group.to_string(),
    };
    let resources = context.caches.resources();
    let readable = resources.iter().filter_map(|resource| resource.0.as_ref().ok());
    let alike = readable.filter(|resource| GroupKey::of(resource, endpoints).is_alike(&key));
    // Two resources that are reconciled at once must not both find the group without an owner.
    let mut owned = context.memory.owned();
    let candidates = alike.map(|resource| Candidate {
        resource,
        last: last_status(context, resource),
        owned: resource.metadata.uid.as_ref().and_then(|uid| owned.get(uid)).cloned(),
    });
    let settings = &context.settings;
    let (image, api_server) = (&settings.consumer_image, settings.api_server);
    let contenders = claim::contenders(candidates, &key, endpoints, image, api_server);
    let uid = &desired.resource.uid;
    let me = contenders.iter().find(|contender| contender.uid == *uid)?;
    let claim = claim::decide(me, &contenders);
    match claim {
        Claim::Ours => owned.insert(uid.clone(), key),
        Claim::Other { .. } => owned.remove(uid),
    };
    Some((claim, me.claimed_at))
}

/// Returns the last state of the group; `None` if it was not read yet. Only the owner's group is observed.
fn redis(context: &Context, desired: &Desired, claim: &Claim, at_work: bool) -> Option<RedisState> {
    let (observers, resource) = (&context.observers, &desired.resource);
    if *claim != Claim::Ours {
        observers.leave(&resource.uid);
        return Some(RedisState::NotRead);
    }
    observers.join(resource, &desired.target, &desired.group, at_work);
    observers.state(&desired.target, &resource.uid)
}

/// Reads the group again if it was just created, so that the first status has its numbers.
pub(super) async fn read_again(
    context: &Context,
    desired: &Desired,
    applied: &Applied,
) -> Option<RedisState> {
    applied.creation.as_ref()?;
    context.observers.refresh(&desired.target).await;
    context.observers.state(&desired.target, &desired.resource.uid)
}

/// Returns the reason why no pod of `deployment` is ready; `None` if one is, none is desired, or the pods cannot be read.
async fn pod_problem(
    context: &Context,
    desired: &Desired,
    deployment: &DeploymentView,
) -> Option<String> {
    if deployment.spec_replicas().unwrap_or(0) == 0 || deployment.ready_pods() > 0 {
        return None;
    }
    let resource = &desired.resource;
    let api = Api::<Pod>::namespaced(context.client.clone(), &resource.namespace);
    // Served from the API server's cache, without a read of its store.
    let params = ListParams::default().labels(&workload::selector(resource)).match_any();
    let subject = format!("{}/{}", resource.namespace, workload::name(resource));
    match within("list the pods of", &subject, api.list(&params)).await {
        Ok(found) => {
            let secret = desired.pods.redis.secret.as_ref().map(|secret| &*secret.name);
            workload::pod_problem(&found.items, secret)
        }
        Err(error) => {
            tracing::debug!(error = error.report(), "cannot read the reason why no pod is ready");
            None
        }
    }
}

/// Reads the Deployment with the name that the resource requires.
///
/// # Errors
/// [`Error`] if the API server fails.
pub(super) async fn deployment(
    context: &Context,
    resource: &ResourceId,
) -> Result<DeploymentView, Error> {
    let name = workload::name(resource);
    let found = match context.caches.deployment(&resource.namespace, &name) {
        Some(deployment) => Some((*deployment).clone()),
        // The watch selects by label, so that a foreign Deployment is not in the cache.
        None => {
            let api = Api::<Deployment>::namespaced(context.client.clone(), &resource.namespace);
            let subject = format!("{}/{name}", resource.namespace);
            within("read Deployment", &subject, api.get_opt(&name)).await?
        }
    };
    Ok(match found {
        None => DeploymentView::Absent,
        Some(deployment) if workload::is_controlled_by(&deployment.metadata, &resource.uid) => {
            DeploymentView::Ours(Box::new(deployment))
        }
        Some(_) => DeploymentView::Foreign,
    })
}
