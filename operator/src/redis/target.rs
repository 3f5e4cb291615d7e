//! Names of what resources ask for on a Redis.

use eventbus::StreamKey;
use eventbus_api::EventConsumerGroup;
use kube::ResourceExt;

use crate::hash;

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
        Self {
            address: endpoints.address(endpoint_of(resource)),
            stream: spec.stream.clone(),
            group: spec.group.clone().unwrap_or_else(|| resource.name_any()),
        }
    }

    /// Returns true if `other` is a group of the same names, on the same Redis or another one.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        (&self.stream, &self.group) == (&other.stream, &other.group)
    }
}

/// Returns the name of the endpoint that `resource` asks for.
#[must_use]
pub fn endpoint_of(resource: &EventConsumerGroup) -> &str {
    let redis = resource.spec.redis.as_ref();
    redis.and_then(|redis| redis.name.as_deref()).unwrap_or(endpoints::DEFAULT)
}

/// Returns the hash of an endpoint's address and database, for the status.
#[must_use]
pub fn target_hash(address: &str) -> String {
    format!("{:016x}", hash::of(address))
}
