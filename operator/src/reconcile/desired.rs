//! What a resource asks for, parsed: the input of every decision.

use eventbus::{GroupName, Start};
use eventbus_api::ResourceId;

use crate::redis::Target;
use crate::workload::{PodSettings, Workload};

/// A valid resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// The resource, in one of its generations.
    pub resource: ResourceId,
    /// The stream, on its Redis.
    pub target: Target,
    /// The group.
    pub group: GroupName,
    /// Where the group starts if it has to be created.
    pub start: Start,
    /// What each consumer pod runs with.
    pub pods: PodSettings,
    /// Consumer pods while not suspended.
    pub replicas: u32,
    /// No pods while true.
    pub suspend: bool,
}

impl Desired {
    /// Returns what the Deployment with `replicas` pods is made from.
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
}
