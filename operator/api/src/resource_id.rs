//! Identity of a resource.

use kube::ResourceExt;

use crate::EventConsumerGroup;

/// Identity of a resource in one of its generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceId {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: another resource of the same name has another one.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
}

impl ResourceId {
    /// Returns the identity of a resource that the API server returned; a missing field is empty or 0.
    #[must_use]
    pub fn of(resource: &EventConsumerGroup) -> Self {
        Self {
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            uid: resource.uid().unwrap_or_default(),
            generation: resource.metadata.generation.unwrap_or_default(),
        }
    }
}
