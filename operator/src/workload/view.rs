//! The Deployment that is there.

use k8s_openapi::api::apps::v1::Deployment;

/// The Deployment of the name that a resource needs.
#[derive(Clone, Debug, PartialEq)]
pub enum DeploymentView {
    /// There is none.
    Absent,
    /// Another object controls it, or none does.
    Foreign,
    /// The resource controls it.
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

    /// Counts the pods that are ready.
    #[must_use]
    pub fn ready_pods(&self) -> i32 {
        let status = self.ours().and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.ready_replicas).unwrap_or(0)
    }

    /// Counts the pods that exist.
    #[must_use]
    pub fn existing_pods(&self) -> i32 {
        let status = self.ours().and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.replicas).unwrap_or(0)
    }

    /// Returns the pods that its spec asks for; `None` where there is no such Deployment, or it does not say.
    #[must_use]
    pub fn spec_replicas(&self) -> Option<i32> {
        self.ours().and_then(|deployment| deployment.spec.as_ref()).and_then(|spec| spec.replicas)
    }
}
