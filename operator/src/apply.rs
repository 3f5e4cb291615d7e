//! Carries out a plan, and writes the status: the only place that writes.

use std::time::Duration;

use eventbus::admin::GroupCreation;
use eventbus::{Start, chain};
use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::calls::within;
use crate::context::{self, Context};
use crate::error::Error;
use crate::events;
use crate::observed::{DeploymentView, Observed};
use crate::pacing;
use crate::plan::Plan;
use crate::state::Failures;
use crate::wanted::{ResourceId, Wanted};

/// The owner of the fields that the operator sets.
pub const FIELD_MANAGER: &str = "eventbus-operator";

/// What a plan came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// What the creation of the group came to.
    pub creation: Option<GroupCreation>,
    /// The Deployment as it stands after it was applied.
    pub deployment: Option<Deployment>,
    /// What could not be done, for the status.
    pub failures: Failures,
    /// The error that the reconcile ends with, once the status tells it too.
    pub error: Option<Error>,
}

/// Carries out `plan`: the group first, so that no pod starts before it stands. Every step may be done twice.
///
/// # Errors
/// [`Error::NotLeading`]; what else goes wrong is part of the answer.
pub async fn run(
    context: &Context,
    wanted: &Wanted,
    observed: &Observed,
    plan: &Plan,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    if let Some(start) = &plan.create_group {
        context.may_write("create group", wanted.group.as_str())?;
        match create_group(context, wanted, start).await {
            Ok(creation) => applied.creation = Some(creation),
            Err(why) => {
                applied.failures.group = Some(why);
                return Ok(applied);
            }
        }
    }
    if let Some(deployment) = &plan.deployment {
        match apply_deployment(context, &wanted.resource, observed, deployment).await {
            Ok(deployment) => applied.deployment = Some(deployment),
            Err(error @ Error::NotLeading { .. }) => return Err(error),
            Err(error) => {
                applied.failures.deployment = Some(error.told());
                applied.error = Some(error);
            }
        }
    }
    Ok(applied)
}

async fn create_group(
    context: &Context,
    wanted: &Wanted,
    start: &Start,
) -> Result<GroupCreation, String> {
    let (target, group) = (&wanted.target, &wanted.group);
    let creation = context.sweeps.create_group(target, group, start).await.map_err(|error| {
        error.map_or_else(|| "its stream is no longer looked at".to_owned(), |error| chain(&error))
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
    if let DeploymentView::Ours(present) = &observed.deployment {
        // If it is another one of that name by now, the server refuses.
        deployment.metadata.uid = present.uid();
    }
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

/// Writes `new` if it tells something that `standing` does not and its time has come. The answer is when to look again;
/// `None`: nothing is left to write.
///
/// # Errors
/// [`Error`] if the API server refuses; a resource that is gone is no error.
pub async fn status(
    context: &Context,
    resource: &EventConsumerGroup,
    standing: Option<&EventConsumerGroupStatus>,
    new: EventConsumerGroupStatus,
    moving: bool,
) -> Result<Option<Duration>, Error> {
    let uid = resource.uid().unwrap_or_default();
    let change = pacing::change(standing, &new, moving);
    match pacing::wait(change, context.memory.since_written(&uid, context::now())) {
        None => return Ok(None),
        Some(Duration::ZERO) => {}
        Some(wait) => return Ok(Some(wait)),
    }
    let subject = format!("{}/{}", resource.namespace().unwrap_or_default(), resource.name_any());
    context.may_write("write the status of EventConsumerGroup", &subject)?;
    if let Err(wait) = context.take_write(change) {
        return Ok(Some(wait));
    }
    match write_status(context, resource, &subject, &new).await {
        Ok(version) => {
            events::transition(context, resource, standing, &new).await;
            context.memory.written(&uid, new, version.as_deref(), context::now());
            context.metrics.status_written();
            Ok(None)
        }
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write_status(
    context: &Context,
    resource: &EventConsumerGroup,
    subject: &str,
    status: &EventConsumerGroupStatus,
) -> Result<Option<String>, Error> {
    let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
    let api = Api::<EventConsumerGroup>::namespaced(context.client.clone(), &namespace);
    let patch = Patch::Apply(json!({
        "apiVersion": EventConsumerGroup::api_version(&()),
        "kind": EventConsumerGroup::kind(&()),
        // If it is another one of that name by now, the server refuses.
        "metadata": { "name": name, "uid": resource.uid() },
        "status": status,
    }));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let call = api.patch_status(&name, &params, &patch);
    let written = within("write the status of EventConsumerGroup", subject, call).await?;
    Ok(written.resource_version())
}
