//! Reads what is there for one resource, from the caches where they know.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use crate::calls::within;
use crate::claim;
use crate::context::Context;
use crate::error::Error;
use crate::observed::{Claim, DeploymentView, Observed, RedisView};
use crate::state::ready_pods;
use crate::wanted::{ResourceId, Wanted};
use crate::workload;

/// Reads; `None` while Redis has neither answered nor failed to answer since the resource was first seen.
///
/// # Errors
/// [`Error`] if the API server fails.
pub async fn observe(context: &Context, wanted: &Wanted) -> Result<Option<Observed>, Error> {
    let deployment = deployment(context, &wanted.resource).await?;
    let contenders = context.contenders(wanted);
    let me = contenders.iter().find(|contender| contender.uid == wanted.resource.uid);
    // The watch may be behind, and not know us yet: then nobody is told to be before us.
    let claim = me.map_or(Claim::Ours, |me| claim::decide(me, &contenders));
    let redis = if claim == Claim::Ours {
        let at_work = matches!(&deployment, DeploymentView::Ours(d) if ready_pods(d) > 0);
        let Some(view) = context.redis_view(wanted, at_work) else {
            return Ok(None);
        };
        view
    } else {
        context.sweeps.leave(&wanted.resource.uid);
        RedisView::NotAsked
    };
    Ok(Some(Observed { claim, redis, deployment }))
}

/// The Deployment of the name that the resource needs.
///
/// # Errors
/// [`Error`] if the API server fails.
pub async fn deployment(context: &Context, resource: &ResourceId) -> Result<DeploymentView, Error> {
    let name = workload::name(resource);
    let found = match context.deployment(&resource.namespace, &name) {
        Some(deployment) => Some((*deployment).clone()),
        // The watch brings only what carries our label: a foreign one has to be asked for.
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
