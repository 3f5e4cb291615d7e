//! Fields of the schema that this version does not act on.

use std::collections::BTreeMap;

use eventbus_api::{DeadLetter, Delivery, EventConsumerGroupSpec, Lifecycle, PodTemplate};
use serde::Serialize;
use serde_json::Value;

/// The fields of `spec` that are away from their defaults and would have no effect, by their paths.
pub(super) fn fields(spec: &EventConsumerGroupSpec) -> Vec<String> {
    let mut fields = Vec::new();
    let mut check = |path: &str, is_set: bool| {
        if is_set {
            fields.push(path.to_owned());
        }
    };
    check("start.copyFrom", spec.start.as_ref().is_some_and(|start| start.copy_from.is_some()));
    check("redis.secretRef", spec.redis.as_ref().is_some_and(|redis| redis.secret_ref.is_some()));
    let handler = &spec.handler;
    let http = handler.http.as_ref();
    check("handler.http.headers", http.is_some_and(|http| !http.headers.is_empty()));
    check("handler.http.caSecretRef", http.is_some_and(|http| http.ca_secret_ref.is_some()));
    check("handler.sidecar", handler.sidecar.is_some());
    check("handler.exec", handler.exec.is_some());
    check("handler.log.payload", handler.log.as_ref().is_some_and(|log| log.payload));
    check("handler.custom", handler.custom.is_some());
    check("handler.external", handler.external.is_some());
    check("scaling", spec.scaling.is_some());
    check("reset", spec.reset.is_some());
    let objectives = spec.objectives.as_ref();
    check("objectives", objectives.is_some_and(|objectives| *objectives != Default::default()));
    let pod = spec.pod_template.as_ref();
    check("podTemplate", pod.is_some_and(|pod| *pod != PodTemplate::default()));
    fields.extend(delivery(&spec.delivery));
    if let Some(dead_letter) = &spec.dead_letter {
        fields.extend(changed("deadLetter", dead_letter, &DeadLetter::default()));
    }
    fields.extend(changed("lifecycle", &spec.lifecycle, &Lifecycle::default()));
    fields
}

/// The annotations that would have no effect.
pub(super) fn annotations(annotations: &BTreeMap<String, String>) -> Option<String> {
    const RECONCILE: &str = "eventbus.seraaj.dev/reconcile";
    annotations.contains_key(RECONCILE).then(|| format!("metadata.annotations[{RECONCILE}]"))
}

/// All fields of `delivery` but those that this version acts on.
fn delivery(delivery: &Delivery) -> Vec<String> {
    let supported = Delivery {
        max_attempts: delivery.max_attempts,
        timeout: delivery.timeout.clone(),
        concurrency: delivery.concurrency,
        batch_size: delivery.batch_size,
        lease: delivery.lease.clone(),
        backoff: delivery.backoff.clone(),
        ..Delivery::default()
    };
    changed("delivery", delivery, &supported)
}

/// The fields of `value` that differ from those of `default`.
fn changed<T: Serialize>(path: &str, value: &T, default: &T) -> Vec<String> {
    let object = |value: &T| match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        _ => serde_json::Map::new(),
    };
    let default = object(default);
    object(value)
        .into_iter()
        .filter(|(name, value)| default.get(name) != Some(value))
        .map(|(name, _)| format!("{path}.{name}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(changes: Value) -> Vec<String> {
        let mut spec = json!({"stream": "s", "handler": {"log": {}}});
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        fields(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn what_is_supported_is_not_named() {
        assert_eq!(
            of(json!({
                "group": "g", "start": {"id": "$"}, "redis": {"name": "x"}, "eventTypes": ["a.*"],
                "handler": {"http": {"url": "http://h", "format": "Json"}},
                "delivery": {"timeout": "1s", "concurrency": 1, "batchSize": 2, "lease": "5s",
                    "backoff": {"initial": "2s", "max": "3s", "multiplier": 3, "jitterPercent": 0}},
                "replicas": 4, "suspend": true, "image": "i",
            })),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_field_at_its_default_is_not_named() {
        assert_eq!(
            of(json!({
                "deadLetter": {"enabled": true, "maxLength": 10000}, "lifecycle": {"deletionPolicy": "Retain"},
                "delivery": {"maxAttempts": 9, "ordering": "None", "onUnavailable": "Pause"},
                "objectives": {}, "podTemplate": {},
            })),
            Vec::<String>::new()
        );
    }

    #[test]
    fn each_field_away_from_its_default_is_named_by_its_path() {
        let cases = [
            (json!({"start": {"copyFrom": "g"}}), "start.copyFrom"),
            (json!({"redis": {"secretRef": {"name": "s"}}}), "redis.secretRef"),
            (
                json!({"handler": {"http": {"url": "http://h", "headers": [{"name": "a", "value": "b"}]}}}),
                "handler.http.headers",
            ),
            (
                json!({"handler": {"http": {"url": "https://h", "caSecretRef": {"name": "s", "key": "k"}}}}),
                "handler.http.caSecretRef",
            ),
            (json!({"handler": {"sidecar": {"image": "i", "port": 8080}}}), "handler.sidecar"),
            (json!({"handler": {"exec": {"command": ["true"]}}}), "handler.exec"),
            (json!({"handler": {"custom": {"image": "i"}}}), "handler.custom"),
            (json!({"handler": {"external": {}}}), "handler.external"),
            (json!({"handler": {"log": {"payload": true}}}), "handler.log.payload"),
            (json!({"scaling": {"maxReplicas": 2}}), "scaling"),
            (json!({"reset": {"requestId": "r", "id": "0"}}), "reset"),
            (json!({"objectives": {"maxLag": 1}}), "objectives"),
            (json!({"podTemplate": {"labels": {"a": "b"}}}), "podTemplate"),
            (json!({"delivery": {"ordering": "Stream"}}), "delivery.ordering"),
            (json!({"delivery": {"onUnavailable": "CountAttempt"}}), "delivery.onUnavailable"),
            (json!({"delivery": {"maxEventsPerSecond": 5}}), "delivery.maxEventsPerSecond"),
            (json!({"deadLetter": {"enabled": false}}), "deadLetter.enabled"),
            (json!({"deadLetter": {"stream": "d:dlq:g"}}), "deadLetter.stream"),
            (json!({"deadLetter": {"maxLength": 5}}), "deadLetter.maxLength"),
            (json!({"lifecycle": {"creationPolicy": "CreateOnly"}}), "lifecycle.creationPolicy"),
            (json!({"lifecycle": {"streamPolicy": "Wait"}}), "lifecycle.streamPolicy"),
            (json!({"lifecycle": {"groupLostPolicy": "Halt"}}), "lifecycle.groupLostPolicy"),
            (json!({"lifecycle": {"deletionPolicy": "Delete"}}), "lifecycle.deletionPolicy"),
            (json!({"lifecycle": {"reapConsumersAfter": "5m"}}), "lifecycle.reapConsumersAfter"),
        ];
        for (changes, path) in cases {
            assert_eq!(of(changes.clone()), [path], "{changes}");
        }
    }
}
