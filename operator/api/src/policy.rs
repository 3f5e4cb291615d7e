//! Dead letters, scaling, life cycle, resets and objectives.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DurationText;

/// Where events go that cannot be handled.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    /// Whether such events are kept; where false they are acknowledged, counted and logged. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The stream that keeps them. Default: `{<stream>}:dlq:<group>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub stream: Option<String>,
    /// Dead letters that are kept, at least 1; beyond that the oldest are dropped and counted. Default: 10000.
    #[serde(default = "max_length")]
    #[schemars(range(min = 1))]
    pub max_length: u64,
}

impl Default for DeadLetter {
    fn default() -> Self {
        Self { enabled: yes(), stream: None, max_length: max_length() }
    }
}

/// Scaling by backlog and age.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas").message(
    "minReplicas must not exceed maxReplicas"
))]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Fewest pods, 0 to 1000. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub min_replicas: u32,
    /// Most pods, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: u32,
    /// Events of the backlog that one pod is wanted for, at least 1. Default: 100.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1))]
    pub backlog_per_replica: u64,
    /// More pods are started when the oldest event is older than this. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_lag_age: Option<DurationText>,
    /// How long nothing may be left before the last pod goes. Default: 5m.
    #[serde(default = "five_minutes")]
    pub scale_to_zero_after: DurationText,
    /// The time between two steps down. Default: 5m.
    #[serde(default = "five_minutes")]
    pub scale_down_after: DurationText,
}

/// What happens to the group at the turns of its life.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// What is done about the group at first. Default: CreateOrAdopt.
    #[serde(default)]
    pub creation_policy: CreationPolicy,
    /// What is done about a stream that does not exist: Create makes an empty one, Wait waits for it. Default: Create.
    #[serde(default)]
    pub stream_policy: StreamPolicy,
    /// Where a group begins again that vanished from Redis. Default: Resume.
    #[serde(default)]
    pub group_lost_policy: GroupLostPolicy,
    /// What happens to the group when this resource is deleted. Stream and dead letters always stay. Default: Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// When names of consumers that match no live pod and hold nothing are removed. Default: 10m, never for handler.external.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reap_consumers_after: Option<DurationText>,
}

/// What is done about the group at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CreationPolicy {
    /// An existing group is taken over with its position, a missing one is created.
    #[default]
    CreateOrAdopt,
    /// An existing group is an error.
    CreateOnly,
    /// A missing group is never created.
    AdoptOnly,
}

/// What is done about a stream that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StreamPolicy {
    /// An empty stream is created with the group.
    #[default]
    Create,
    /// Nothing is created until somebody published.
    Wait,
}

/// Where a group begins again that vanished from Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GroupLostPolicy {
    /// Where it was, never past it.
    #[default]
    Resume,
    /// At `start`.
    Start,
    /// At the end of the stream.
    Latest,
    /// Nowhere: somebody has to decide.
    Halt,
}

/// What happens to the group when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It goes when nothing is left in it.
    DeleteIfDrained,
    /// It goes with all that is left in it.
    Delete,
}

/// A request to move the group.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("[has(self.id), has(self.time)].filter(x, x).size() == 1").message(
    "set exactly one of id, time"
))]
#[serde(rename_all = "camelCase")]
pub struct Reset {
    /// A name of your choice: each new one is one move.
    #[schemars(length(min = 1, max = 64))]
    pub request_id: String,
    /// After this entry ID: "0", "$" or `<milliseconds>[-<sequence>]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 41), regex(pattern = r"^(\$|[0-9]{1,20}(-[0-9]{1,20})?)$"))]
    pub id: Option<String>,
    /// To the first entry of this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub time: Option<String>,
    /// What happens to entries that were delivered and not acknowledged. Default: Keep.
    #[serde(default)]
    pub pending: PendingEntries,
}

/// What a reset does with entries that were delivered and not acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PendingEntries {
    /// They stay, and are handled.
    #[default]
    Keep,
    /// They are acknowledged unhandled.
    Drop,
}

/// Limits whose crossing is told.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objectives {
    /// Entries not yet delivered. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_lag: Option<u64>,
    /// Age of the oldest entry not yet delivered. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lag_age: Option<DurationText>,
    /// Age of the oldest entry delivered and not acknowledged. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_age: Option<DurationText>,
    /// Dead letters. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub max_dead_letters: Option<u64>,
}

fn yes() -> bool {
    true
}

fn max_length() -> u64 {
    10_000
}

fn one() -> u32 {
    1
}

fn hundred() -> u64 {
    100
}

fn five_minutes() -> DurationText {
    "5m".into()
}
