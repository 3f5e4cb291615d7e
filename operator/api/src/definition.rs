//! The CustomResourceDefinition, generated from the types and normalized.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::EventConsumerGroup;

/// Fields of the status in which null means unknown; in every other field null means absent.
const NULLABLE: [&str; 3] = ["lag", "backlog", "position/properties/entriesRead"];

/// Returns the CRD as an object that can be applied.
///
/// # Panics
/// Never in a tested build: the generated definition is fixed at compile time.
#[must_use]
pub fn definition() -> CustomResourceDefinition {
    serde_json::from_value(normalized()).expect("the normalized definition is still a definition")
}

/// Returns the CRD as YAML, as `operator crd` prints it.
///
/// # Panics
/// Never in a tested build: the generated definition is fixed at compile time.
#[must_use]
pub fn yaml() -> String {
    let body = serde_yaml::to_string(&normalized()).expect("a definition is plain data");
    format!("# Generated from the operator's types by `operator crd`; do not edit.\n{body}")
}

fn normalized() -> Value {
    let mut definition =
        serde_json::to_value(EventConsumerGroup::crd()).expect("a definition is plain data");
    let Some(schema) = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") else {
        return definition;
    };
    normalize(schema);
    for field in NULLABLE {
        let pointer = format!("/properties/status/properties/{field}");
        if let Some(Value::Object(field)) = schema.pointer_mut(&pointer) {
            field.insert("nullable".to_owned(), true.into());
        }
    }
    // The title is the name of the Rust type, and repeats the kind.
    schema.as_object_mut().and_then(|schema| schema.remove("title"));
    definition
}

fn normalize(schema: &mut Value) {
    let Value::Object(object) = schema else {
        return;
    };
    object.remove("nullable");
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    for bound in ["minimum", "maximum"] {
        if let Some(number) = object.get(bound).and_then(Value::as_f64) {
            object.insert(bound.to_owned(), whole(number));
        }
    }
    if let Some(format) = object.get("format").and_then(Value::as_str).map(signed) {
        object.insert("format".to_owned(), format.into());
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.iter_mut().for_each(|(_, property)| normalize(property));
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            normalize(inner);
        }
    }
}

/// Returns a bound as an integer: the generator writes `1.0`.
#[expect(clippy::cast_possible_truncation, reason = "bounds are small whole numbers")]
fn whole(number: f64) -> Value {
    (number as i64).into()
}

/// Returns the signed format for an unsigned one, about which Kubernetes would warn.
fn signed(format: &str) -> String {
    match format {
        "uint32" => "int32".to_owned(),
        "uint64" => "int64".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        normalized().pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap()
    }

    fn walk(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(property, &format!("{path}.{name}"), visit);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], &format!("{path}[]"), visit);
            }
        }
    }

    #[test]
    fn the_committed_definition_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crds/eventconsumergroups.yaml");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(committed == yaml(), "crds/eventconsumergroups.yaml is stale: run `make crds`");
    }

    #[test]
    fn every_field_of_spec_and_status_has_a_description() {
        let mut bare = Vec::new();
        walk(&schema(), "", &mut |path, schema| {
            let is_field = path.contains('.') && !path.ends_with("[]");
            let described = schema["description"].as_str().is_some_and(|text| !text.is_empty());
            let is_standard = [".apiVersion", ".kind", ".metadata"].contains(&path);
            if is_field && !described && !is_standard {
                bare.push(path.to_owned());
            }
        });
        assert_eq!(bare, Vec::<String>::new());
    }

    #[test]
    fn only_numbers_that_may_be_unknown_are_nullable() {
        let mut nullable = Vec::new();
        walk(&schema(), "", &mut |path, schema| {
            if schema["nullable"] == true {
                nullable.push(path.to_owned());
            }
        });
        assert_eq!(nullable, [".status.backlog", ".status.lag", ".status.position.entriesRead"]);
    }

    #[test]
    fn no_part_of_the_schema_preserves_unknown_fields() {
        walk(&schema(), "", &mut |path, schema| {
            assert!(schema.get("x-kubernetes-preserve-unknown-fields").is_none(), "{path}");
        });
    }

    #[test]
    fn no_format_is_unknown_to_kubernetes() {
        walk(&schema(), "", &mut |path, schema| {
            if let Some(format) = schema["format"].as_str() {
                assert!(["int32", "int64", "date-time"].contains(&format), "{path}: {format}");
            }
        });
    }
}
