//! Observed state of one resource: an input of every decision. Values only; `observe` reads them.

use jiff::Timestamp;

use crate::redis::state::RedisState;
use crate::workload::DeploymentView;

use super::claim::Claim;

/// Observed state of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Owner of the group.
    pub claim: Claim,
    /// Time of the resource's claim; `None` if it is a new one.
    pub claimed_at: Option<Timestamp>,
    /// State of the stream and the group when Redis was last read.
    pub redis: RedisState,
    /// Hash of the endpoint's address and database.
    pub target_hash: String,
    /// Deployment with the name that the resource requires.
    pub deployment: DeploymentView,
    /// Reason why its pods are not ready, if their status has one.
    pub pod_problem: Option<String>,
    /// True if this process has declared the group in Redis as desired.
    pub is_declared: bool,
}
