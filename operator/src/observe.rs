//! Reads what is there for one resource, from the caches where they know.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use crate::calls::within;
use crate::claim;
use crate::context::Context;
use crate::error::Error;
use crate::observed::{Claim, DeploymentView, Observed, RedisView};
use crate::state::ready_pods;
use crate::wanted::{ResourceId, Wanted};
use crate::{pods, workload};

/// Reads; `None` while Redis has neither answered nor failed to answer since the resource was first seen.
///
/// # Errors
/// [`Error`] if the API server fails.
pub async fn observe(context: &Context, wanted: &Wanted) -> Result<Option<Observed>, Error> {
    let deployment = deployment(context, &wanted.resource).await?;
    let contenders = context.contenders(wanted);
    let me = contenders.iter().find(|contender| contender.uid == wanted.resource.uid);
    let Some(me) = me else {
        // Deleted meanwhile: whoever wants the group now must not meet with what we would do.
        return Ok(None);
    };
    let claim = claim::decide(me, &contenders);
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
    let pod_problem = pod_problem(context, wanted, &claim, &deployment).await;
    Ok(Some(Observed { claim, redis, deployment, pod_problem }))
}

/// Why no pod is ready, where pods are wanted; what cannot be read is not told.
async fn pod_problem(
    context: &Context,
    wanted: &Wanted,
    claim: &Claim,
    deployment: &DeploymentView,
) -> Option<String> {
    let DeploymentView::Ours(deployment) = deployment else {
        return None;
    };
    if *claim != Claim::Ours || wanted.desired_replicas() == 0 || ready_pods(deployment) > 0 {
        return None;
    }
    let resource = &wanted.resource;
    let api = Api::<Pod>::namespaced(context.client.clone(), &resource.namespace);
    // From the API server's memory: it costs no look at its store.
    let params = ListParams::default().labels(&workload::selector(resource)).match_any();
    let subject = format!("{}/{}", resource.namespace, workload::name(resource));
    match within("list the pods of", &subject, api.list(&params)).await {
        Ok(found) => {
            let secret = wanted.redis.secret.as_ref().map(|secret| &*secret.name);
            pods::problem(&found.items, secret)
        }
        Err(error) => {
            tracing::debug!(error = error.told(), "it is not known why no pod is ready");
            None
        }
    }
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
