//! Resources that the definition's rules refuse, each with the message: for the rules run offline and by a real server.

use eventbus_api::{EventConsumerGroup, EventConsumerGroupSpec};
use serde_json::{Value, json};

/// A resource, what it was before if it is a change, and the message with which it is refused.
pub struct Refused {
    /// Description of the mistake, as part of a sentence.
    pub what: &'static str,
    /// The spec before the change; `None`: the resource is new.
    pub before: Option<Value>,
    /// The spec that is refused.
    pub spec: Value,
    /// Part of the message.
    pub message: &'static str,
}

/// A spec that is accepted: the smallest one with these fields besides.
#[must_use]
pub fn spec(fields: Value) -> Value {
    let mut spec = json!({"stream": "s", "handler": {"log": {}}});
    for (name, value) in fields.as_object().expect("fields are an object") {
        spec[name] = value.clone();
    }
    spec
}

/// The resource `name` with this spec.
///
/// # Panics
/// If it cannot be read as one.
#[must_use]
pub fn resource(name: &str, spec: &Value) -> EventConsumerGroup {
    let spec: EventConsumerGroupSpec =
        serde_json::from_value(spec.clone()).expect("the spec has the resource's types");
    EventConsumerGroup::new(name, spec)
}

/// Every rule with a resource that breaks it.
#[must_use]
pub fn refused() -> Vec<Refused> {
    [new_resources(), handlers(), delivery(), changes()].into_iter().flatten().collect()
}

/// Resources at the edge of a rule, on the right side of it.
#[must_use]
pub fn accepted() -> Vec<(&'static str, Option<Value>, Value)> {
    let ordered = |fields| {
        let mut spec = spec(fields);
        spec["delivery"]["ordering"] = json!("Stream");
        spec
    };
    let reset = |id: &str| json!({"requestId": id, "id": "0"});
    vec![
        ("the smallest resource", None, spec(json!({}))),
        (
            "ordered with one replica",
            None,
            ordered(json!({"replicas": 1, "delivery": {"concurrency": 1}})),
        ),
        ("ordered with the default concurrency", None, ordered(json!({"delivery": {}}))),
        ("a lease of 5s", None, spec(json!({"delivery": {"lease": "5s"}}))),
        ("a timeout of 1h", None, spec(json!({"delivery": {"timeout": "60m"}}))),
        (
            "a backoff without growth",
            None,
            spec(json!({"delivery": {"backoff": {"initial": "24h", "max": "24h"}}})),
        ),
        (
            "as few as many replicas",
            None,
            spec(json!({"scaling": {"minReplicas": 3, "maxReplicas": 3}})),
        ),
        (
            "external with a target",
            None,
            spec(json!({
                "handler": {"external": {"scaleTargetRef": {"name": "d"}}}, "scaling": {"maxReplicas": 2}
            })),
        ),
        ("another replicas", Some(spec(json!({"replicas": 1}))), spec(json!({"replicas": 5}))),
        (
            "a reset while suspended",
            Some(spec(json!({"suspend": true}))),
            spec(json!({"suspend": true, "reset": reset("a")})),
        ),
        (
            "going on with an old reset",
            Some(spec(json!({"suspend": true, "reset": reset("a")}))),
            spec(json!({"reset": reset("a")})),
        ),
    ]
}

fn new(what: &'static str, fields: Value, message: &'static str) -> Refused {
    Refused { what, before: None, spec: spec(fields), message }
}

fn new_resources() -> Vec<Refused> {
    vec![
        new(
            "two starts",
            json!({"start": {"id": "0", "time": "2026-01-01T00:00:00Z"}}),
            "set exactly one of id, time, copyFrom",
        ),
        new("an empty start", json!({"start": {}}), "set exactly one of id, time, copyFrom"),
        new(
            "two ways to Redis",
            json!({"redis": {"name": "a", "secretRef": {"name": "b"}}}),
            "secretRef, not both",
        ),
        new(
            "replicas beside scaling",
            json!({"replicas": 2, "scaling": {"maxReplicas": 3}}),
            "replicas (fixed, or driven by an HPA/KEDA through /scale) and scaling (built in) are mutually exclusive; remove one",
        ),
        new(
            "more fewest than most replicas",
            json!({"scaling": {"minReplicas": 4, "maxReplicas": 3}}),
            "minReplicas must not exceed maxReplicas",
        ),
        new(
            "dead letters into the stream itself",
            json!({"deadLetter": {"stream": "s"}}),
            "deadLetter.stream must differ from stream",
        ),
        new(
            "an order over two replicas",
            json!({"replicas": 2, "delivery": {"ordering": "Stream"}}),
            "ordering: Stream needs at most one replica and concurrency 1",
        ),
        new(
            "an order over many workers",
            json!({"delivery": {"ordering": "Stream", "concurrency": 2}}),
            "ordering: Stream needs at most one replica",
        ),
        new(
            "an order over a scaled group",
            json!({"scaling": {"maxReplicas": 2}, "delivery": {"ordering": "Stream"}}),
            "ordering: Stream needs at most one replica",
        ),
        new(
            "two places of a reset",
            json!({"suspend": true, "reset": {"requestId": "a", "id": "0", "time": "2026-01-01T00:00:00Z"}}),
            "set exactly one of id, time",
        ),
        new(
            "a volume with two sources",
            json!({"podTemplate": {"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]}}),
            "set exactly one of emptyDir, configMap, secret",
        ),
    ]
}

fn handlers() -> Vec<Refused> {
    let http = |http: Value| json!({"handler": {"http": http}});
    let external = |fields: Value| {
        let mut fields = fields;
        fields["handler"] = json!({"external": {}});
        fields
    };
    vec![
        new(
            "two handlers",
            json!({"handler": {"log": {}, "http": {"url": "http://h"}}}),
            "set exactly one of http, sidecar, exec, log, custom, external",
        ),
        new(
            "no handler",
            json!({"handler": {}}),
            "set exactly one of http, sidecar, exec, log, custom, external",
        ),
        new(
            "two addresses",
            http(json!({"url": "http://h", "service": {"name": "s"}})),
            "set exactly one of url, service",
        ),
        new("no address", http(json!({})), "set exactly one of url, service"),
        new(
            "a header without a value",
            http(json!({"url": "http://h", "headers": [{"name": "a"}]})),
            "set exactly one of value, secretRef",
        ),
        new(
            "an image for pods of others",
            external(json!({"image": "i"})),
            "handler.external runs no pods",
        ),
        new(
            "settings for pods of others",
            external(json!({"podTemplate": {}})),
            "handler.external runs no pods",
        ),
        new(
            "scaling of nothing",
            external(json!({"scaling": {"maxReplicas": 2}})),
            "handler.external needs scaleTargetRef",
        ),
        new(
            "replicas of nothing",
            external(json!({"replicas": 2})),
            "handler.external needs scaleTargetRef",
        ),
    ]
}

fn delivery() -> Vec<Refused> {
    let delivery = |what, fields: Value, message| new(what, json!({ "delivery": fields }), message);
    let backoff =
        |what, fields: Value, message| new(what, json!({"delivery": {"backoff": fields}}), message);
    vec![
        delivery(
            "a bad duration",
            json!({"timeout": "5 minutes"}),
            "must be a duration such as 90s or 1h30m",
        ),
        delivery("a short lease", json!({"lease": "4999ms"}), "lease must be between 5s and 1h"),
        delivery("a long lease", json!({"lease": "1h1ms"}), "lease must be between 5s and 1h"),
        delivery(
            "no time for the handler",
            json!({"timeout": "0s"}),
            "timeout must be above 0s and at most 1h",
        ),
        delivery(
            "too much time for the handler",
            json!({"timeout": "61m"}),
            "timeout must be above 0s and at most 1h",
        ),
        backoff(
            "a backoff that shrinks",
            json!({"initial": "2m", "max": "1m"}),
            "backoff.initial must not exceed backoff.max",
        ),
        backoff("no backoff", json!({"initial": "0s"}), "backoff.initial must be above 0s"),
        backoff("a backoff of days", json!({"max": "25h"}), "backoff.max must be at most 24h"),
        new(
            "a bad duration to reap after",
            json!({"lifecycle": {"reapConsumersAfter": "soon"}}),
            "must be a duration such as 90s or 1h30m",
        ),
        new(
            "a bad duration of an objective",
            json!({"objectives": {"maxLagAge": "1d"}}),
            "must be a duration such as 90s or 1h30m",
        ),
        new(
            "a bad duration of scaling",
            json!({"scaling": {"maxReplicas": 2, "scaleDownAfter": "5"}}),
            "must be a duration such as 90s or 1h30m",
        ),
    ]
}

fn changes() -> Vec<Refused> {
    let change = |what, before: Value, after: Value, message| Refused {
        what,
        before: Some(spec(before)),
        spec: spec(after),
        message,
    };
    let reset = |id: &str, to: &str| json!({"requestId": id, "id": to});
    vec![
        change(
            "a changed stream",
            json!({}),
            json!({"stream": "z"}),
            "stream is immutable; create a second resource",
        ),
        change(
            "a changed group",
            json!({"group": "a"}),
            json!({"group": "b"}),
            "group is immutable; create a second resource with start.copyFrom",
        ),
        change("a removed group", json!({"group": "a"}), json!({}), "group is immutable"),
        change(
            "a changed start",
            json!({"start": {"id": "0"}}),
            json!({"start": {"id": "$"}}),
            "to move an existing group set suspend: true and use reset",
        ),
        change(
            "an added start",
            json!({}),
            json!({"start": {"id": "0"}}),
            "start is read only when the group is created",
        ),
        change(
            "a reset while pods run",
            json!({}),
            json!({"reset": reset("a", "0")}),
            "a new reset.requestId is accepted only while suspend is true",
        ),
        change(
            "an edited reset",
            json!({"suspend": true, "reset": reset("a", "0")}),
            json!({"suspend": true, "reset": reset("a", "7")}),
            "a reset cannot be edited; give the new one a new requestId",
        ),
    ]
}
