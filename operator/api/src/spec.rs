//! Desired state of an `EventConsumerGroup`.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{Delivery, EventConsumerGroupStatus, Handler};

/// Desired state of one consumer group on a Redis stream and of the pods that consume it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "eventbus.seraaj.dev",
    version = "v1alpha1",
    kind = "EventConsumerGroup",
    plural = "eventconsumergroups",
    singular = "eventconsumergroup",
    shortname = "ecg",
    category = "eventbus",
    namespaced,
    status = "EventConsumerGroupStatus",
    derive = "PartialEq",
    doc = "A consumer group on a Redis stream, the Deployment of consumers that handles its events, and its lag.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Stream", type_ = "string", json_path = ".spec.stream"),
    printcolumn(name = "Group", type_ = "string", json_path = ".status.group"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "State",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Lag",
        type_ = "string",
        json_path = ".status.display.lag",
        description = "Number of undelivered entries; \"?\" unknown, \"~\" as reported by the server, \">\" at least"
    ),
    printcolumn(
        name = "Pending",
        type_ = "integer",
        json_path = ".status.pending",
        description = "Number of entries delivered and not acknowledged"
    ),
    printcolumn(
        name = "Oldest",
        type_ = "date",
        json_path = ".status.oldestUnprocessedTime",
        description = "Age of the oldest entry not acknowledged"
    ),
    printcolumn(
        name = "DLQ",
        type_ = "integer",
        json_path = ".status.deadLetter.length",
        description = "Number of dead letters"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "string",
        json_path = ".status.display.replicas",
        description = "Consumer pods, ready/desired"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "LagSource",
        type_ = "string",
        json_path = ".status.lagSource",
        priority = "1"
    ),
    printcolumn(
        name = "Position",
        type_ = "string",
        json_path = ".status.position.lastDeliveredId",
        priority = "1"
    ),
    printcolumn(
        name = "Redis",
        type_ = "string",
        json_path = ".status.redis.endpoint",
        priority = "1"
    ),
    validation = Rule::new("self.metadata.name.size() <= 52").message(
        "metadata.name is too long: 52 characters at most (the Deployment is named ecg-<name>)"
    )
)]
#[x_kube(validation = Rule::new(
    "has(self.group) == has(oldSelf.group) && (!has(self.group) || self.group == oldSelf.group)"
).message("group is immutable; create a second resource for the other group"))]
#[x_kube(validation = Rule::new(
    "has(self.start) == has(oldSelf.start) && (!has(self.start) || self.start == oldSelf.start)"
).message("start is immutable: it is used only when the group is created; create a second resource for another group"))]
#[serde(rename_all = "camelCase")]
pub struct EventConsumerGroupSpec {
    /// Redis key of the stream; 1 to 512 bytes. Immutable.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "stream is immutable; create a second resource for the other stream"
    ))]
    pub stream: String,
    /// Name of the consumer group; 1 to 200 letters, digits and `._:-`, beginning with a letter or digit. Immutable. Default: the resource's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$")
    )]
    pub group: Option<String>,
    /// Start position of the group, used only when the group is created; an existing group keeps its position. Immutable. Default: id "0".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartAt>,
    /// Redis server that has the stream. Default: the endpoint "default".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisRef>,
    /// Types of the events that the handler gets: at most 64 patterns, in which `*` matches any run of characters. Other events are acknowledged and counted as skipped. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub event_types: Vec<String>,
    /// Handler of each event; exactly one of http and log must be set.
    pub handler: Handler,
    /// Delivery of events to the handler: batches, concurrency, time limits and retries.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub delivery: Delivery,
    /// Number of consumer pods, which kubectl scale and a HorizontalPodAutoscaler can set too; 0 to 1000. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<u32>,
    /// Stops all consumer pods while true; the group is kept and its lag is still reported. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// Image of the consumer pods; 1 to 512 characters. Default: the image that the operator is configured with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
}

/// Start position of a new group; exactly one of id and time must be set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.id) != has(self.time)").message("set exactly one of id, time"))]
#[serde(rename_all = "camelCase")]
pub struct StartAt {
    /// Entry ID after which delivery starts: "0" for all entries, "$" for entries added later, or `<milliseconds>[-<sequence>]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 41), regex(pattern = r"^(\$|[0-9]{1,20}(-[0-9]{1,20})?)$"))]
    pub id: Option<String>,
    /// Time in RFC 3339 at which delivery starts, with the first entry added then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub time: Option<String>,
}

/// Reference to a Redis server.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisRef {
    /// Name of an endpoint that the administrator defined; 1 to 63 characters. Default: "default".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
}
