//! Names of what resources ask for on a Redis.

use eventbus::StreamKey;
use eventbus_api::EventConsumerGroup;
use kube::ResourceExt;

use super::endpoints::{self, Endpoints};

/// A stream on an endpoint: the unit that is observed at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The endpoint's name.
    pub endpoint: String,
    /// The stream.
    pub stream: StreamKey,
}

/// The group that a resource asks for, valid or not: two with the same key ask for the same group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupKey {
    /// The endpoint's address and database: two endpoints may name the same Redis. The name, where there is none.
    pub address: String,
    /// The stream.
    pub stream: String,
    /// The group.
    pub group: String,
}

impl GroupKey {
    /// Returns the key of what `resource` asks for.
    #[must_use]
    pub fn of(resource: &EventConsumerGroup, endpoints: &Endpoints) -> Self {
        let spec = &resource.spec;
        let endpoint = spec.redis.as_ref().and_then(|redis| redis.name.as_deref());
        Self {
            address: endpoints.address(endpoint.unwrap_or(endpoints::DEFAULT)),
            stream: spec.stream.clone(),
            group: spec.group.clone().unwrap_or_else(|| resource.name_any()),
        }
    }
}
