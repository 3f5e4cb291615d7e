//! Applies a plan in Redis and at the API server.

use eventbus::admin::GroupCreation;
use eventbus::{Start, chain};
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
    if let Some(start) = &plan.create_group {
        context.may_write("create group", desired.group.as_str())?;
        match create_group(context, desired, start).await {
            Ok(creation) => applied.creation = Some(creation),
            Err(why) => {
                applied.failures.group = Some(why);
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

async fn create_group(
    context: &Context,
    desired: &Desired,
    start: &Start,
) -> Result<GroupCreation, String> {
    let (target, group) = (&desired.target, &desired.group);
    let creation = context.observers.create_group(target, group, start).await.map_err(|error| {
        error.map_or_else(|| "its stream is no longer observed".to_owned(), |error| chain(&error))
    })?;
    if let GroupCreation::Created { position, .. } = creation {
        let (stream, endpoint) = (&target.stream, &target.endpoint);
        tracing::info!(%endpoint, %stream, %group, %position, "group created");
    }
    Ok(creation)
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
