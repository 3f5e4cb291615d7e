//! Observed Deployment of a resource.

use k8s_openapi::api::apps::v1::Deployment;

/// Deployment with the name that a resource requires.
#[derive(Clone, Debug, PartialEq)]
pub enum DeploymentView {
    /// No Deployment of this name exists.
    Absent,
    /// Deployment that another object or none controls.
    Foreign,
    /// Deployment that the resource controls.
    Ours(Box<Deployment>),
}

impl DeploymentView {
    /// Returns the Deployment if the resource controls it.
    #[must_use]
    pub fn ours(&self) -> Option<&Deployment> {
        match self {
            Self::Ours(deployment) => Some(deployment),
            Self::Absent | Self::Foreign => None,
        }
    }

    /// Returns the number of ready pods.
    #[must_use]
    pub fn ready_pods(&self) -> i32 {
        let status = self.ours().and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    /// Returns the number of existing pods.
    #[must_use]
    pub fn existing_pods(&self) -> i32 {
        let status = self.ours().and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.replicas).unwrap_or(0)
    }

    /// Returns `spec.replicas` of the Deployment; `None` if the resource controls none, or the field is not set.
    #[must_use]
    pub fn spec_replicas(&self) -> Option<i32> {
        self.ours().and_then(|deployment| deployment.spec.as_ref()).and_then(|spec| spec.replicas)
    }
}
