//! What a user asks for.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{Delivery, EventConsumerGroupStatus, Handler};

/// One consumer group on a Redis stream, and the pods that consume it.
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
        description = "entries not yet delivered; \"?\" unknown, \"~\" as reported by the server, \">\" at least"
    ),
    printcolumn(
        name = "Pending",
        type_ = "integer",
        json_path = ".status.pending",
        description = "delivered, not acknowledged"
    ),
    printcolumn(
        name = "Oldest",
        type_ = "date",
        json_path = ".status.oldestUnprocessedTime",
        description = "age of the oldest event not acknowledged"
    ),
    printcolumn(
        name = "DLQ",
        type_ = "integer",
        json_path = ".status.deadLetter.length",
        description = "dead letters"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "string",
        json_path = ".status.display.replicas",
        description = "consumer pods, ready/wanted"
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
).message("start is immutable: it is read only when the group is created; create a second resource for another group"))]
#[serde(rename_all = "camelCase")]
pub struct EventConsumerGroupSpec {
    /// The Redis key of the stream, up to 512 bytes. Immutable: another stream is another resource.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = Rule::new("self == oldSelf").message(
        "stream is immutable; create a second resource for the other stream"
    ))]
    pub stream: String,
    /// The name of the consumer group. Immutable. Default: the resource's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$")
    )]
    pub group: Option<String>,
    /// Where a group that has to be created begins; an existing group keeps its position. Immutable. Default: id "0".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<StartAt>,
    /// The Redis that holds the stream. Default: the endpoint "default".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisRef>,
    /// The event types to handle; `*` stands for any run of characters. Others are acknowledged and counted as skipped. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9_*-]+(\.[A-Za-z0-9_*-]+)*$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub event_types: Vec<String>,
    /// What is done with each event: exactly one of the ways below.
    pub handler: Handler,
    /// How events are read, tried again and taken over.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub delivery: Delivery,
    /// Number of consumer pods, 0 to 1000: fixed, or written through /scale. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<u32>,
    /// No pods while true; the group stays and its lag is still reported. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// The consumer's image. Default: the one that the operator was installed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
}

/// Where a new group begins.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("has(self.id) != has(self.time)").message("set exactly one of id, time"))]
#[serde(rename_all = "camelCase")]
pub struct StartAt {
    /// After this entry ID: "0" from the first entry, "$" only what comes later, or `<milliseconds>[-<sequence>]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 41), regex(pattern = r"^(\$|[0-9]{1,20}(-[0-9]{1,20})?)$"))]
    pub id: Option<String>,
    /// With the first entry of this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub time: Option<String>,
}

/// Which Redis.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedisRef {
    /// The name of an endpoint that the administrator defined. Default: "default".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
}
