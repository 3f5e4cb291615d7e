//! Caches of the watched objects.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::watch;

use super::MaybeInvalid;

/// The objects of one namespace, or of all, as the watches bring them.
#[derive(Clone)]
pub(crate) struct Cache {
    /// The namespace; `None`: all.
    pub(crate) namespace: Option<String>,
    /// The resources.
    pub(crate) groups: Store<MaybeInvalid>,
    /// The operator's Deployments.
    pub(crate) deployments: Store<Deployment>,
    /// Which of the two hold all that there is. The stores' own wait wakes only one of several waiters.
    pub(crate) synced: Arc<Synced>,
}

/// The caches of all watched namespaces.
pub(crate) struct Caches(Vec<Cache>);

/// Tells whether the watches have brought what there was when they began.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    groups: watch::Sender<bool>,
    deployments: watch::Sender<bool>,
}

impl Synced {
    /// Notes that all resources are known.
    pub(crate) fn set_groups(&self) {
        self.groups.send_replace(true);
    }

    /// Notes that all Deployments are known.
    pub(crate) fn set_deployments(&self) {
        self.deployments.send_replace(true);
    }

    async fn wait(&self) {
        for sender in [&self.groups, &self.deployments] {
            // The sender lives as long as we do.
            sender.subscribe().wait_for(|synced| *synced).await.ok();
        }
    }
}

impl Caches {
    /// Takes the cache of each watched namespace, or one for all.
    pub(crate) fn new(caches: Vec<Cache>) -> Self {
        Self(caches)
    }

    /// Waits until the watches have brought what there was when they began.
    pub(crate) async fn wait_for_sync(&self) {
        for cache in &self.0 {
            cache.synced.wait().await;
        }
    }

    /// Returns the Deployment `name`, if it is one of the operator's and the watch has brought it.
    pub(crate) fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        let fits = |cache: &&Cache| cache.namespace.as_deref().is_none_or(|n| n == namespace);
        let cache = self.0.iter().find(fits)?;
        cache.deployments.get(&ObjectRef::new(name).within(namespace))
    }

    /// Returns every resource, also those that cannot be read.
    pub(crate) fn resources(&self) -> Vec<Arc<MaybeInvalid>> {
        self.0.iter().flat_map(|cache| cache.groups.state()).collect()
    }
}
