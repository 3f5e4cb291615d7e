//! Drift of a Deployment from what is desired.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

/// The annotation that stands for the whole desired object: it differs when a field is no longer desired, which a
/// comparison of the desired fields cannot see.
const HASH_ANNOTATION: &str = "eventbus.seraaj.dev/applied";

/// Writes the hash of `deployment` into its annotations.
pub(super) fn stamp(deployment: &mut Deployment) {
    let hash = format!("{:016x}", crate::hash::of(&json(deployment).to_string()));
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH_ANNOTATION.to_owned(), hash);
}

/// Returns true where a field of `desired` is missing in `present` or has another value there; other fields of
/// `present` do not matter.
#[must_use]
pub fn has_drifted(desired: &Deployment, present: &Deployment) -> bool {
    !contains(&json(present), &json(desired))
}

fn json(deployment: &Deployment) -> Value {
    serde_json::to_value(deployment).expect("a Deployment is plain data")
}

/// Objects may have more fields than desired, and lists of named things more elements: others may own those.
fn contains(present: &Value, desired: &Value) -> bool {
    match (present, desired) {
        (Value::Object(present), Value::Object(desired)) => desired
            .iter()
            .all(|(key, value)| present.get(key).is_some_and(|present| contains(present, value))),
        (Value::Array(present), Value::Array(desired)) => {
            let find = |name: &Value| present.iter().find(|element| &element["name"] == name);
            let named = desired.iter().all(|element| element["name"].is_string());
            if named {
                return desired.iter().all(|element| {
                    find(&element["name"]).is_some_and(|present| contains(present, element))
                });
            }
            let pairs = || present.iter().zip(desired);
            present.len() == desired.len()
                && pairs().all(|(present, desired)| contains(present, desired))
        }
        (present, desired) => present == desired,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{deployment, desired};

    use super::*;

    #[test]
    fn fields_that_the_server_or_others_added_do_not_matter() {
        let desired = deployment(&desired(), 2);
        let mut present = json(&desired);
        present["spec"]["revisionHistoryLimit"] = json!(10);
        present["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("3");
        let env =
            present["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
        env.insert(0, json!({"name": "TZ", "value": "UTC"}));
        assert!(!has_drifted(&desired, &serde_json::from_value(present).unwrap()));
    }

    #[test]
    fn a_field_that_somebody_changed_is_seen() {
        let desired = deployment(&desired(), 2);
        for (pointer, value) in [
            ("/spec/replicas", json!(5)),
            ("/spec/template/spec/containers/0/image", json!("evil")),
            ("/spec/template/spec/containers/0/env/0/value", json!("redis://elsewhere")),
            ("/spec/template/spec/automountServiceAccountToken", json!(true)),
            ("/metadata/labels/app.kubernetes.io~1managed-by", json!("x")),
        ] {
            let mut present = json(&desired);
            *present.pointer_mut(pointer).unwrap() = value;
            let present = serde_json::from_value(present).unwrap();
            assert!(has_drifted(&desired, &present), "{pointer}");
        }
    }

    #[test]
    fn a_setting_that_is_no_longer_desired_is_seen() {
        let before = deployment(&desired(), 2);
        let mut without_types = desired();
        without_types.pods.event_types.clear();
        let after = deployment(&without_types, 2);
        assert!(has_drifted(&after, &before));
    }
}
