//! Drift of a Deployment from the desired one.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

/// Annotation with a hash of the whole desired object. It changes when a field is no longer desired, which a comparison
/// of the desired fields cannot detect.
const HASH_ANNOTATION: &str = "eventbus.seraaj.dev/applied";

/// Writes the hash of `deployment` into its annotations.
pub(super) fn stamp(deployment: &mut Deployment) {
    let hash = format!("{:016x}", crate::hash::of(&json(deployment).to_string()));
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH_ANNOTATION.to_owned(), hash);
}

/// Returns true if a field of `desired` is missing in `current` or has another value there; further fields of `current`
/// are ignored.
#[must_use]
pub fn has_drifted(desired: &Deployment, current: &Deployment) -> bool {
    !contains(&json(current), &json(desired))
}

fn json(deployment: &Deployment) -> Value {
    serde_json::to_value(deployment).expect("a Deployment is plain data")
}

/// Returns true if `current` has all desired fields, and its lists all desired elements by their names. Other field
/// managers may own further fields and elements.
fn contains(current: &Value, desired: &Value) -> bool {
    match (current, desired) {
        (Value::Object(current), Value::Object(desired)) => desired
            .iter()
            .all(|(key, value)| current.get(key).is_some_and(|current| contains(current, value))),
        (Value::Array(current), Value::Array(desired)) => {
            let find = |name: &Value| current.iter().find(|element| &element["name"] == name);
            let named = desired.iter().all(|element| element["name"].is_string());
            if named {
                return desired.iter().all(|element| {
                    find(&element["name"]).is_some_and(|current| contains(current, element))
                });
            }
            let pairs = || current.iter().zip(desired);
            current.len() == desired.len()
                && pairs().all(|(current, desired)| contains(current, desired))
        }
        (current, desired) => current == desired,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{deployment, desired};

    use super::*;

    #[test]
    fn fields_that_the_server_or_others_added_are_no_drift() {
        let desired = deployment(&desired(), 2);
        let mut current = json(&desired);
        current["spec"]["revisionHistoryLimit"] = json!(10);
        current["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("3");
        let env =
            current["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
        env.insert(0, json!({"name": "TZ", "value": "UTC"}));
        assert!(!has_drifted(&desired, &serde_json::from_value(current).unwrap()));
    }

    #[test]
    fn a_field_that_another_writer_changed_is_drift() {
        let desired = deployment(&desired(), 2);
        for (pointer, value) in [
            ("/spec/replicas", json!(5)),
            ("/spec/template/spec/containers/0/image", json!("evil")),
            ("/spec/template/spec/containers/0/env/0/value", json!("redis://elsewhere")),
            ("/spec/template/spec/automountServiceAccountToken", json!(true)),
            ("/metadata/labels/app.kubernetes.io~1managed-by", json!("x")),
        ] {
            let mut current = json(&desired);
            *current.pointer_mut(pointer).unwrap() = value;
            let current = serde_json::from_value(current).unwrap();
            assert!(has_drifted(&desired, &current), "{pointer}");
        }
    }

    #[test]
    fn a_setting_that_is_no_longer_desired_is_drift() {
        let before = deployment(&desired(), 2);
        let mut without_types = desired();
        without_types.pods.event_types.clear();
        let after = deployment(&without_types, 2);
        assert!(has_drifted(&after, &before));
    }
}
