//! Desired state of a resource, parsed: an input of every decision.

use eventbus::admin::{Declaration, Owner};
use eventbus::{GroupName, Start, TypeFilter};
use eventbus_api::ResourceId;

use crate::redis::Target;
use crate::workload::{PodSettings, Workload};

/// Desired state of a valid resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Identity of the resource in one of its generations.
    pub resource: ResourceId,
    /// Stream on its endpoint.
    pub target: Target,
    /// Name of the group.
    pub group: GroupName,
    /// Start position of the group, used if it has to be created.
    pub start: Start,
    /// Event types that the group asks for.
    pub types: TypeFilter,
    /// Settings of each consumer pod.
    pub pods: PodSettings,
    /// Number of consumer pods while not suspended.
    pub replicas: u32,
    /// True: no pods are desired.
    pub suspend: bool,
}

impl Desired {
    /// Returns the input of the Deployment with `replicas` pods.
    #[must_use]
    pub fn workload(&self, replicas: u32) -> Workload<'_> {
        Workload {
            resource: &self.resource,
            stream: &self.target.stream,
            group: &self.group,
            pods: &self.pods,
            replicas,
        }
    }

    /// Returns the declaration of the group in Redis, owned by the resource.
    #[must_use]
    pub fn declaration(&self) -> Declaration {
        let ResourceId { namespace, name, uid, .. } = self.resource.clone();
        let owner = Owner { cluster: String::new(), namespace, name, uid };
        Declaration { owner: Some(owner), types: self.types.clone() }
    }
}
