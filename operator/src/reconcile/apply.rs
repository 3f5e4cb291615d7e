//! Applies a plan in Redis and at the API server.

use eventbus::admin::{Declared, EnsureGroup, GroupCreation, ResumeSource};
use eventbus::chain;
use eventbus_api::ResourceId;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};

use crate::error::Error;
use crate::kubernetes::calls::within;

use super::context::{Context, FIELD_MANAGER};
use super::desired::Desired;
use super::observed::Observed;
use super::outcome::Applied;
use super::plan::Plan;

/// Applies `plan`: the group first, so that no pod starts before it exists. Every step is idempotent.
///
/// # Errors
/// [`Error::NotLeading`]; other failures are part of the result.
pub(super) async fn run(
    context: &Context,
    desired: &Desired,
    observed: &Observed,
    plan: &Plan,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    if let Some(request) = &plan.ensure_group {
        context.may_write("create group", desired.group.as_str())?;
        let existed = observed.redis.group().is_some();
        match ensure_group(context, desired, &observed.target_hash, request).await {
            // Only its declaration was missing.
            Ok(GroupCreation::Existed { .. }) if existed => {}
            Ok(creation) => applied.creation = Some(creation),
            Err(cause) if existed => {
                tracing::debug!(group = %desired.group, cause, "cannot declare the group; retrying");
            }
            Err(cause) => {
                applied.failures.group = Some(cause);
                return Ok(applied);
            }
        }
    }
    if let Some(deployment) = &plan.deployment {
        match apply_deployment(context, &desired.resource, observed, deployment).await {
            Ok(deployment) => applied.deployment = Some(deployment),
            Err(error @ Error::NotLeading { .. }) => return Err(error),
            Err(error) => {
                applied.failures.deployment = Some(error.report());
                applied.error = Some(error);
            }
        }
    }
    Ok(applied)
}

/// Creates the group if it is missing, and declares it. A declaration that is refused is logged once.
async fn ensure_group(
    context: &Context,
    desired: &Desired,
    target_hash: &str,
    request: &EnsureGroup,
) -> Result<GroupCreation, String> {
    let (target, group) = (&desired.target, &desired.group);
    let (stream, endpoint) = (&target.stream, &target.endpoint);
    let ensured = context.observers.ensure_group(target, group, request).await;
    let ensured = ensured.map_err(|error| {
        error.map_or_else(|| "its stream is no longer observed".to_owned(), |error| chain(&error))
    })?;
    if let GroupCreation::Created { position, .. } = ensured.creation {
        let from = ensured.resumed_from.map(|source| match source {
            ResumeSource::Consumers => "consumers",
            _ => "status",
        });
        tracing::info!(%endpoint, %stream, %group, %position, resumed_from = from, "group created");
    }
    let cause = match &ensured.declared {
        Declared::OwnedBy(owner) => Some(format!("it is declared by another resource, {owner}")),
        Declared::Unreadable => Some("its present declaration cannot be read".to_owned()),
        Declared::Refused(error) => Some(chain(error)),
        _ => None,
    };
    if let Some(cause) = cause {
        tracing::warn!(%endpoint, %stream, %group, cause,
            "cannot declare the group; trimming does not wait for it while it is missing");
    }
    let declaration = request.declaration.clone();
    context.memory.set_declared(&desired.resource.uid, target_hash, declaration);
    Ok(ensured.creation)
}

async fn apply_deployment(
    context: &Context,
    resource: &ResourceId,
    observed: &Observed,
    deployment: &Deployment,
) -> Result<Deployment, Error> {
    let mut deployment = deployment.clone();
    // The server rejects the patch if another Deployment has the name now.
    deployment.metadata.uid = observed.deployment.ours().and_then(ResourceExt::uid);
    let name = deployment.name_any();
    let subject = format!("{}/{name}", resource.namespace);
    context.may_write("apply Deployment", &subject)?;
    let api = Api::<Deployment>::namespaced(context.client.clone(), &resource.namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&deployment);
    let applied = within("apply Deployment", &subject, api.patch(&name, &params, &patch)).await?;
    tracing::info!(namespace = %resource.namespace, deployment = %name, "Deployment applied");
    Ok(applied)
}
