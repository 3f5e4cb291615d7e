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
    vec![
        ("the smallest resource", None, spec(json!({}))),
        ("a lease of 5s", None, spec(json!({"delivery": {"lease": "5s"}}))),
        ("a timeout of 1h", None, spec(json!({"delivery": {"timeout": "60m"}}))),
        (
            "a backoff without growth",
            None,
            spec(json!({"delivery": {"backoff": {"initial": "24h", "max": "24h"}}})),
        ),
        ("another replicas", Some(spec(json!({"replicas": 1}))), spec(json!({"replicas": 5}))),
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
            "set exactly one of id, time",
        ),
        new("an empty start", json!({"start": {}}), "set exactly one of id, time"),
    ]
}

fn handlers() -> Vec<Refused> {
    let http = |http: Value| json!({"handler": {"http": http}});
    vec![
        new(
            "two handlers",
            json!({"handler": {"log": {}, "http": {"url": "http://h"}}}),
            "set exactly one of http, log",
        ),
        new("no handler", json!({"handler": {}}), "set exactly one of http, log"),
        new(
            "two addresses",
            http(json!({"url": "http://h", "service": {"name": "s"}})),
            "set exactly one of url, service",
        ),
        new("no address", http(json!({})), "set exactly one of url, service"),
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
    ]
}

fn changes() -> Vec<Refused> {
    let change = |what, before: Value, after: Value, message| Refused {
        what,
        before: Some(spec(before)),
        spec: spec(after),
        message,
    };
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
            "group is immutable; create a second resource for the other group",
        ),
        change("a removed group", json!({"group": "a"}), json!({}), "group is immutable"),
        change(
            "a changed start",
            json!({"start": {"id": "0"}}),
            json!({"start": {"id": "$"}}),
            "start is immutable: it is used only when the group is created",
        ),
        change("an added start", json!({}), json!({"start": {"id": "0"}}), "start is immutable"),
    ]
}
