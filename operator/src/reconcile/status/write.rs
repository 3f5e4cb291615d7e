//! Writes the status at limited intervals.

use std::time::Duration;

use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus};
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::error::Error;
use crate::kubernetes::calls::within;
use crate::reconcile::context::{self, Context, FIELD_MANAGER};

use super::{events, write_policy};

/// Writes `new` if it differs from `last` and the write policy and the budget permit it. Returns the wait until the next
/// attempt; `None`: nothing is left to write.
///
/// # Errors
/// [`Error`] if the API server rejects it; a deleted or changed resource is no error.
pub(in crate::reconcile) async fn write(
    context: &Context,
    resource: &EventConsumerGroup,
    last: Option<&EventConsumerGroupStatus>,
    new: EventConsumerGroupStatus,
    moving: bool,
) -> Result<Option<Duration>, Error> {
    let uid = resource.uid().unwrap_or_default();
    let change = write_policy::change(last, &new, moving);
    match write_policy::wait(change, context.memory.since_written(&uid, context::now())) {
        None => return Ok(None),
        Some(Duration::ZERO) => {}
        Some(wait) => return Ok(Some(wait)),
    }
    let subject = format!("{}/{}", resource.namespace().unwrap_or_default(), resource.name_any());
    context.may_write("write the status of EventConsumerGroup", &subject)?;
    if let Err(wait) = context.take_write(change.priority()) {
        return Ok(Some(wait));
    }
    match patch(context, resource, &subject, &new).await {
        Ok(version) => {
            events::transition(context, resource, last, &new).await;
            context.memory.written(&uid, new, version.as_deref(), context::now());
            context.metrics.status_written();
            Ok(None)
        }
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn patch(
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
        // The server rejects the patch if another resource has the name now.
        "metadata": { "name": name, "uid": resource.uid() },
        "status": status,
    }));
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let call = api.patch_status(&name, &params, &patch);
    let written = within("write the status of EventConsumerGroup", subject, call).await?;
    Ok(written.resource_version())
}
