//! Observed state of an `EventConsumerGroup`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditions;

/// Observed state of the group and its consumer pods; unknown numbers are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventConsumerGroupStatus {
    /// Value of metadata.generation that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Name of the consumer group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Number of consumer pods that exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Number of consumer pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Number of consumer pods that are desired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// Label selector of the consumer pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Number of entries never delivered to this group; null if unknown.
    #[schemars(extend("nullable" = true))]
    pub lag: Option<u64>,
    /// Source of the lag: Exact, Counted, Reported, AtLeast or Unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_source: Option<LagSource>,
    /// Number of entries delivered and not acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Number of pending entries that are delayed until their next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retrying: Option<u64>,
    /// Sum of lag, pending and replays; null if unknown.
    pub backlog: Option<u64>,
    /// Time at which the oldest undelivered entry was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_undelivered_time: Option<Time>,
    /// Time at which the oldest pending entry was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_pending_time: Option<Time>,
    /// Earlier one of oldestUndeliveredTime and oldestPendingTime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_unprocessed_time: Option<Time>,
    /// Number of entries in the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_length: Option<u64>,
    /// Time at which Redis was last read, as of the last write of this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check: Option<Time>,
    /// Texts for the columns of kubectl get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,
    /// Redis server that was read, without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStatus>,
    /// Positions of the group and the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionStatus>,
    /// Claim of the group; of several resources that declare one group, the one that runs it keeps it, else the oldest claim
    /// gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<ClaimStatus>,
    /// Origin of the group: Created, Adopted or Recreated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_origin: Option<GroupOrigin>,
    /// Consumers of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumers: Option<ConsumersStatus>,
    /// Dead letters of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetterStatus>,
    /// Name of the resource that owns the group; only if it is in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conflicts_with: Option<String>,
    /// Groups of the stream that no resource declares; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub unmanaged_groups: Vec<String>,
    /// Conditions by type; Ready summarizes the others, and its reason is the column STATE of kubectl get.
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

/// Source of a lag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LagSource {
    /// Derived from entry IDs and lengths, without error.
    Exact,
    /// Counted on the server.
    Counted,
    /// Reported by the server; may be wrong after entries were deleted.
    Reported,
    /// Counted up to a limit; the lag is at least this number.
    AtLeast,
    /// Unknown.
    Unknown,
}

/// Texts for the columns of kubectl get.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Display {
    /// Lag: "?" unknown, "~" as reported by the server, ">" at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,
    /// Consumer pods, ready/desired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<String>,
}

/// Redis server that was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisStatus {
    /// Name of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Version of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Mode of the server: standalone, sentinel or cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Hash of the server's address and database; another value means another server behind the same endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_hash: Option<String>,
}

/// Claim of a group on one Redis server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStatus {
    /// Name of the endpoint on which the group is claimed.
    pub endpoint: String,
    /// Hash of the address and database of the endpoint.
    pub target_hash: String,
    /// Time of the claim: that of the resource's creation, or of the change that made it ask for another Redis server.
    pub claimed_at: Time,
}

/// Positions of the group and the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PositionStatus {
    /// ID of the last entry that was delivered to the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivered_id: Option<String>,
    /// ID of the last entry that was added to the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_generated_id: Option<String>,
    /// ID of the first entry of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_entry_id: Option<String>,
    /// ID just before the oldest pending entry, or lastDeliveredId if nothing is pending; a lost group is recreated there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_id: Option<String>,
    /// Number of entries that the group has read, as counted by the server; null if unknown.
    pub entries_read: Option<u64>,
    /// Number of entries ever added to the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries_added: Option<u64>,
    /// Largest ID of an entry deleted from the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_deleted_id: Option<String>,
    /// Time at which these values were read, by the clock of Redis, as of the last write of this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Time>,
}

/// Origin of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GroupOrigin {
    /// Group that the operator created.
    Created,
    /// Group that existed before the resource.
    Adopted,
    /// Group that was lost and that the operator created again.
    Recreated,
}

/// Consumers of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumersStatus {
    /// Number of consumers, without the reserved names.
    pub total: u32,
    /// Number of live consumers: those whose heartbeat is not older than their lease, or all if none has written one.
    pub live: u32,
    /// Number of the other consumers.
    pub stale: u32,
    /// Consumers with the most pending entries; at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub items: Vec<ConsumerStatus>,
}

/// Consumer of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerStatus {
    /// Name of the consumer in the group.
    pub name: String,
    /// Name of its pod, for consumers with a heartbeat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Number of its pending entries.
    pub pending: u64,
    /// Time since it was last active, as of the last write of this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<String>,
}

/// Dead letters of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterStatus {
    /// Key of the stream of dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// Number of dead letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Number of dead letters that were dropped at their maximum length, the oldest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<u64>,
    /// Time of the last dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_time: Option<Time>,
}
