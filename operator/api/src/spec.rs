//! What a user asks for.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    DeadLetter, Delivery, EventConsumerGroupStatus, Handler, Lifecycle, Objectives, PodTemplate,
    Reset, Scaling,
};

const ORDERED: &str = "!has(self.delivery) || !has(self.delivery.ordering) || self.delivery.ordering != 'Stream' || \
((!has(self.replicas) || self.replicas <= 1) && (!has(self.scaling) || self.scaling.maxReplicas <= 1) && \
(!has(self.delivery.concurrency) || self.delivery.concurrency == 1))";

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
        name = "Lost",
        type_ = "integer",
        json_path = ".status.loss.trimmedBeforeDelivery",
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
).message("group is immutable; create a second resource with start.copyFrom to rename without losing the position"))]
#[x_kube(validation = Rule::new(
    "has(self.start) == has(oldSelf.start) && (!has(self.start) || self.start == oldSelf.start)"
).message("start is read only when the group is created; to move an existing group set suspend: true and use reset"))]
#[x_kube(validation = Rule::new("!(has(self.replicas) && has(self.scaling))").message(
    "replicas (fixed, or driven by an HPA/KEDA through /scale) and scaling (built in) are mutually exclusive; remove one of them"
))]
#[x_kube(validation = Rule::new(
    "!has(self.deadLetter) || !has(self.deadLetter.stream) || self.deadLetter.stream != self.stream"
).message("deadLetter.stream must differ from stream: dead letters would be consumed again"))]
#[x_kube(validation = Rule::new(ORDERED).message("ordering: Stream needs at most one replica and concurrency 1"))]
#[x_kube(validation = Rule::new(
    "!has(self.reset) || (has(oldSelf.reset) && self.reset.requestId == oldSelf.reset.requestId) || (has(self.suspend) && self.suspend)"
).message("a new reset.requestId is accepted only while suspend is true"))]
#[x_kube(validation = Rule::new(
    "!has(self.reset) || !has(oldSelf.reset) || self.reset.requestId != oldSelf.reset.requestId || self.reset == oldSelf.reset"
).message("a reset cannot be edited; give the new one a new requestId"))]
#[x_kube(validation = Rule::new("!has(self.handler.external) || (!has(self.podTemplate) && !has(self.image))").message(
    "handler.external runs no pods: podTemplate and image do not apply"
))]
#[x_kube(validation = Rule::new(
    "!has(self.handler.external) || has(self.handler.external.scaleTargetRef) || (!has(self.scaling) && !has(self.replicas))"
).message("handler.external needs scaleTargetRef to use scaling or replicas"))]
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
    /// Where events go that cannot be handled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Consumer pods, 0 to 1000: fixed, or written through /scale. Not together with scaling. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<u32>,
    /// Scaling by backlog and age, built in. Not together with replicas. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// No pods while true; the group stays and its lag is still reported. Default: false.
    #[serde(default)]
    pub suspend: bool,
    /// What happens to the group when it is there already, missing, lost, or when this resource is deleted.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub lifecycle: Lifecycle,
    /// A request to move the group to another position. Accepted only while suspend is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Reset>,
    /// Limits whose crossing is told by the condition WithinObjectives. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objectives: Option<Objectives>,
    /// The consumer's image. Default: the one that the operator was installed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Settings of the consumer pods beyond the operator's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
}

/// Where a new group begins.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("[has(self.id), has(self.time), has(self.copyFrom)].filter(x, x).size() == 1").message(
    "set exactly one of id, time, copyFrom"
))]
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
    /// At the position of another group of the same stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub copy_from: Option<String>,
}

/// Which Redis.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!(has(self.name) && has(self.secretRef))").message(
    "set name (an endpoint that the administrator defined) or secretRef, not both"
))]
#[serde(rename_all = "camelCase")]
pub struct RedisRef {
    /// The name of an endpoint that the administrator defined. Default: "default".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// A Secret of this namespace with url, and optionally username, password, ca.crt, tls.crt, tls.key; only where the administrator allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// A Secret of the resource's own namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}
