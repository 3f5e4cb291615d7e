//! Caches of the watched objects.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::watch;

use super::MaybeInvalid;

/// Watched objects of one namespace, or of all.
#[derive(Clone)]
pub(crate) struct Cache {
    /// Namespace; `None`: all.
    pub(crate) namespace: Option<String>,
    /// Resources.
    pub(crate) groups: Store<MaybeInvalid>,
    /// Deployments of the operator.
    pub(crate) deployments: Store<Deployment>,
    /// Progress of the first synchronization. The stores have a wait of their own, but it ends for one waiter only.
    pub(crate) synced: Arc<Synced>,
}

/// Caches of all watched namespaces.
pub(crate) struct Caches(Vec<Cache>);

/// Progress of the first synchronization of two watches.
#[derive(Debug, Default)]
pub(crate) struct Synced {
    groups: watch::Sender<bool>,
    deployments: watch::Sender<bool>,
}

impl Synced {
    /// Marks the resources as synchronized.
    pub(crate) fn set_groups(&self) {
        self.groups.send_replace(true);
    }

    /// Marks the Deployments as synchronized.
    pub(crate) fn set_deployments(&self) {
        self.deployments.send_replace(true);
    }

    /// Returns true if the resources are synchronized.
    pub(crate) fn has_groups(&self) -> bool {
        *self.groups.borrow()
    }

    async fn wait(&self) {
        for sender in [&self.groups, &self.deployments] {
            // The sender is not dropped before `self`.
            sender.subscribe().wait_for(|synced| *synced).await.ok();
        }
    }
}

impl Caches {
    /// Creates the caches from the one of each watched namespace, or one for all.
    pub(crate) fn new(caches: Vec<Cache>) -> Self {
        Self(caches)
    }

    /// Waits until the objects that existed when the watches began are cached.
    pub(crate) async fn wait_for_sync(&self) {
        for cache in &self.0 {
            cache.synced.wait().await;
        }
    }

    /// Returns the Deployment `name` if it is one of the operator's and is cached.
    pub(crate) fn deployment(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        let fits = |cache: &&Cache| cache.namespace.as_deref().is_none_or(|n| n == namespace);
        let cache = self.0.iter().find(fits)?;
        cache.deployments.get(&ObjectRef::new(name).within(namespace))
    }

    /// Returns all cached resources, invalid ones included.
    pub(crate) fn resources(&self) -> Vec<Arc<MaybeInvalid>> {
        self.0.iter().flat_map(|cache| cache.groups.state()).collect()
    }
}
