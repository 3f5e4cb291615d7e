//! Whether a Deployment is already what is wanted, so that nothing has to be written.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

/// The annotation that stands for the whole desired object: it differs when a field is no longer wanted, which a
/// comparison of the wanted fields cannot see.
const HASH_ANNOTATION: &str = "eventbus.seraaj.dev/applied";

/// Writes the hash of `deployment` into its annotations.
pub(super) fn stamp(deployment: &mut Deployment) {
    let hash = format!("{:016x}", crate::hash::of(&json(deployment).to_string()));
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(HASH_ANNOTATION.to_owned(), hash);
}

/// Whether every field of `desired` stands in `present` as it is wanted; other fields do not matter.
#[must_use]
pub fn is_in_place(desired: &Deployment, present: &Deployment) -> bool {
    contains(&json(present), &json(desired))
}

fn json(deployment: &Deployment) -> Value {
    serde_json::to_value(deployment).expect("a Deployment is plain data")
}

/// Objects may have more fields than wanted, and lists of named things more elements: others may own those.
fn contains(present: &Value, wanted: &Value) -> bool {
    match (present, wanted) {
        (Value::Object(present), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| present.get(key).is_some_and(|present| contains(present, value))),
        (Value::Array(present), Value::Array(wanted)) => {
            let find = |name: &Value| present.iter().find(|element| &element["name"] == name);
            let named = wanted.iter().all(|element| element["name"].is_string());
            if named {
                return wanted.iter().all(|element| {
                    find(&element["name"]).is_some_and(|present| contains(present, element))
                });
            }
            let pairs = || present.iter().zip(wanted);
            present.len() == wanted.len()
                && pairs().all(|(present, wanted)| contains(present, wanted))
        }
        (present, wanted) => present == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::wanted;
    use crate::wanted::Wanted;
    use crate::workload::deployment;

    use super::*;

    #[test]
    fn fields_that_the_server_or_others_added_do_not_matter() {
        let desired = deployment(&wanted(), 2);
        let mut present = json(&desired);
        present["spec"]["revisionHistoryLimit"] = json!(10);
        present["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("3");
        let env =
            present["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap();
        env.insert(0, json!({"name": "TZ", "value": "UTC"}));
        assert!(is_in_place(&desired, &serde_json::from_value(present).unwrap()));
    }

    #[test]
    fn a_field_that_somebody_changed_is_seen() {
        let desired = deployment(&wanted(), 2);
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
            assert!(!is_in_place(&desired, &present), "{pointer}");
        }
    }

    #[test]
    fn a_setting_that_is_no_longer_wanted_is_seen() {
        let before = deployment(&wanted(), 2);
        let after = deployment(&Wanted { event_types: Vec::new(), ..wanted() }, 2);
        assert!(!is_in_place(&after, &before));
    }
}
