//! The resources of the example platform, read as the operator and the services read them, without a server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::fs;
use std::path::Path;

use eventbus::config::{BusConfig, Overflow};
use eventbus_api::EventConsumerGroup;
use kube::core::cel::Validator;
use serde_json::Value;

fn objects(file: &str) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("examples/seraaj").join(file)).unwrap();
    let parts = text.split("\n---\n").filter(|part| part.contains("kind:"));
    parts.map(|part| serde_yaml::from_str(part).unwrap()).collect()
}

/// Whether all that `part` says stands in `whole`.
fn includes(whole: &Value, part: &Value) -> bool {
    match part {
        Value::Object(fields) => fields.iter().all(|(name, value)| includes(&whole[name], value)),
        part => whole == part,
    }
}

#[test]
fn the_four_groups_are_accepted_and_the_one_without_a_reader_is_suspended() {
    let definition = serde_json::to_value(eventbus_api::definition()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut groups = Vec::new();
    for object in objects("groups.yaml") {
        let resource: EventConsumerGroup = serde_json::from_value(object.clone()).unwrap();
        let known = serde_json::to_value(&resource).unwrap();
        assert!(includes(&known, &object), "a field is unknown: {object}");
        assert!(Validator::new().validate(schema, &known, None).is_ok(), "{object}");
        let suspended = object["spec"]["suspend"] == true;
        groups.push((object["metadata"]["name"].as_str().unwrap().to_owned(), suspended));
    }
    let groups: Vec<_> =
        groups.iter().map(|(name, suspended)| (name.as_str(), *suspended)).collect();
    let expected =
        [("applications", false), ("matching", false), ("bff", false), ("analytics", true)];
    assert_eq!(groups, expected);
}

#[test]
fn every_service_has_settings_with_which_no_group_can_stop_it() {
    let objects = objects("services.yaml");
    let deployments: Vec<_> = objects.iter().filter(|o| o["kind"] == "Deployment").collect();
    assert_eq!(deployments.len(), 3);
    for deployment in deployments {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let name = deployment["metadata"]["name"].as_str().unwrap();
        assert_eq!(container["command"], serde_json::json!(["seraaj", name]));
        let lookup = |name: &str| {
            let variables = container["env"].as_array().unwrap().iter();
            let mut values = variables.filter(|variable| variable["name"] == name);
            values.next().map(|variable| variable["value"].as_str().unwrap().to_owned())
        };
        let config = BusConfig::from_lookup(&lookup).unwrap();
        let cap = config.retention.hard_cap.unwrap();
        assert_eq!(cap.overflow, Overflow::DropOldest, "{name}");
        assert_eq!(lookup("REDIS_STREAM_NAME").as_deref(), Some("stream:events"), "{name}");
        assert!(config.outbox.is_some(), "{name} loses what it publishes while Redis is away");
    }
}

#[test]
fn every_handler_of_a_group_is_a_service_that_is_there() {
    let services = objects("services.yaml");
    let names: Vec<_> = services
        .iter()
        .filter(|object| object["kind"] == "Service")
        .map(|object| object["metadata"]["name"].as_str().unwrap())
        .collect();
    for group in objects("groups.yaml") {
        let Some(url) = group["spec"]["handler"]["http"]["url"].as_str() else { continue };
        let is_there = |name: &&str| url == format!("http://{name}.default.svc/events");
        assert!(names.iter().any(is_there), "{url}");
    }
}
