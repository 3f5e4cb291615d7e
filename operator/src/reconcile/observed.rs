//! What is there for one resource: the other input of every decision. Values only; `observe` reads them.

use crate::redis::state::RedisState;
use crate::workload::DeploymentView;

use super::claim::Claim;

/// What is there for one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The owner of the group.
    pub claim: Claim,
    /// What was last read from Redis.
    pub redis: RedisState,
    /// Hash of the address and database behind the endpoint's name.
    pub target_hash: String,
    /// The Deployment of the name that the resource needs.
    pub deployment: DeploymentView,
    /// Why its pods are not ready, where they say so.
    pub pod_problem: Option<String>,
}
