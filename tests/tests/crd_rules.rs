//! Every rule of the definition, run without a server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use kube::core::cel::Validator;
use serde_json::Value;
use tests::rules::{accepted, refused, resource};

/// The messages of the rules that a resource breaks, as a change from `before` where there is one.
fn broken(before: Option<&Value>, spec: &Value) -> Vec<String> {
    broken_as("n", before, spec)
}

fn broken_as(name: &str, before: Option<&Value>, spec: &Value) -> Vec<String> {
    let definition = serde_json::to_value(eventbus_api::definition()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let object = |spec| serde_json::to_value(resource(name, spec)).unwrap();
    let before = before.map(object);
    match Validator::new().validate(schema, &object(spec), before.as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.message).collect(),
    }
}

/// Every rule in the definition, by its message.
fn messages(schema: &Value, found: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        found.push(rule["message"].as_str().expect("every rule has a message").to_owned());
    }
    let properties = schema["properties"].as_object().into_iter().flatten();
    let inner = properties.map(|(_, property)| property).chain(schema.get("items"));
    inner.for_each(|schema| messages(schema, found));
}

#[test]
fn a_resource_that_breaks_a_rule_is_refused_with_its_message() {
    for case in refused() {
        let broken = broken(case.before.as_ref(), &case.spec);
        assert!(broken.iter().any(|m| m.contains(case.message)), "{}: {broken:?}", case.what);
    }
}

#[test]
fn a_resource_at_the_right_side_of_a_rule_is_accepted() {
    for (what, before, spec) in accepted() {
        assert_eq!(broken(before.as_ref(), &spec), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn a_name_of_more_than_52_characters_is_refused() {
    let spec = &tests::rules::spec(serde_json::json!({}));
    assert_eq!(broken_as(&"n".repeat(52), None, spec), Vec::<String>::new());
    let broken = broken_as(&"n".repeat(53), None, spec);
    assert!(broken[0].contains("metadata.name is too long: 52 characters at most"), "{broken:?}");
}

#[test]
fn no_rule_is_without_a_resource_that_breaks_it() {
    let definition = serde_json::to_value(eventbus_api::definition()).unwrap();
    let mut rules = Vec::new();
    messages(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut rules);
    assert!(rules.len() >= 16, "{rules:?}");
    let cases = refused();
    let untested = |rule: &String| {
        let name_rule = rule.starts_with("metadata.name");
        !name_rule && !cases.iter().any(|case| rule.contains(case.message))
    };
    let untested: Vec<_> = rules.into_iter().filter(untested).collect();
    assert_eq!(untested, Vec::<String>::new());
}
