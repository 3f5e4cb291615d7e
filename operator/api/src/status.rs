//! What the operator reports.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions;

/// What is true about the group: numbers that are not known are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventConsumerGroupStatus {
    /// The metadata.generation that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The resolved name of the consumer group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Consumer pods that exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Consumer pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Consumer pods that are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// The label selector of the consumer pods, for /scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Entries never delivered to this group; null when it cannot be known.
    #[schemars(extend("nullable" = true))]
    pub lag: Option<u64>,
    /// How the lag is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_source: Option<LagSource>,
    /// Entries delivered and not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Of pending: entries that wait for another attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrying: Option<u64>,
    /// Lag, pending and replays together; null when it cannot be known.
    pub backlog: Option<u64>,
    /// When the oldest entry that was never delivered was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_undelivered_time: Option<Time>,
    /// When the oldest entry that was delivered and not acknowledged was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending_time: Option<Time>,
    /// The earlier of the two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unprocessed_time: Option<Time>,
    /// Entries in the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_length: Option<u64>,
    /// When Redis was last asked, as of the last write of this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check: Option<Time>,
    /// Texts for the columns of kubectl get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,
    /// The Redis that was asked; never credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
    /// Where group and stream stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionStatus>,
    /// How the operator came to the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_origin: Option<GroupOrigin>,
    /// The consumers of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumers: Option<ConsumersStatus>,
    /// The dead letters of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetterStatus>,
    /// The resource that has the group instead; named only when it is in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts_with: Option<String>,
    /// Groups of the stream that no resource declares, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub unmanaged_groups: Vec<String>,
    /// The state, by type: Ready sums it up, its reason is the STATE of kubectl get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

impl EventConsumerGroupStatus {
    /// Returns the condition Ready, whose reason is the resource's STATE.
    #[must_use]
    pub fn ready(&self) -> Option<&Condition> {
        conditions::find(&self.conditions, conditions::READY)
    }

    /// Returns the hash of the Redis that the status describes.
    #[must_use]
    pub fn target_hash(&self) -> Option<&str> {
        self.redis.as_ref().and_then(|redis| redis.target_hash.as_deref())
    }
}

/// How a lag is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LagSource {
    /// Derived from ids and lengths, without doubt.
    Exact,
    /// Counted on the server.
    Counted,
    /// As the server reports it; it may be wrong after entries were deleted.
    Reported,
    /// Counted up to a limit: there are at least so many.
    AtLeast,
    /// Not known.
    Unknown,
}

/// Texts for the columns of kubectl get.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Display {
    /// The lag: "?" unknown, "~" as reported by the server, ">" at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,
    /// Consumer pods, ready/wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<String>,
}

/// The Redis that was asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisStatus {
    /// The endpoint's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The server's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The server's mode: standalone, sentinel or cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Stands for address and database: another value is another Redis behind the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_hash: Option<String>,
}

/// Where group and stream stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PositionStatus {
    /// The last entry that was delivered to the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivered_id: Option<String>,
    /// The last entry that was added to the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_generated_id: Option<String>,
    /// The first entry that the stream still has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_entry_id: Option<String>,
    /// Just before the oldest pending entry, else lastDeliveredId.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_id: Option<String>,
    /// The server's count of entries read by the group; null when it does not know.
    pub entries_read: Option<u64>,
    /// Entries ever added to the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries_added: Option<u64>,
    /// The largest ID that was ever deleted from the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deleted_id: Option<String>,
    /// When these were read, as of the last write of this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Time>,
}

/// How the operator came to the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GroupOrigin {
    /// The operator created it.
    Created,
    /// It was there already.
    Adopted,
    /// It vanished, and the operator created it again.
    Recreated,
}

/// The consumers of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumersStatus {
    /// Names in the group.
    pub total: u32,
    /// Of them: consumers that report to us.
    pub live: u32,
    /// Of them: the others.
    pub stale: u32,
    /// The consumers with most in hand, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub items: Vec<ConsumerStatus>,
}

/// One consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerStatus {
    /// Its name in the group.
    pub name: String,
    /// Its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Entries that it holds.
    pub pending: u64,
    /// How long it was silent, as of the last write of this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
}

/// The dead letters of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterStatus {
    /// The stream that keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// When the last one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Time>,
}
