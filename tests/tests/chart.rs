//! The chart agrees with what it is made from.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a package of a workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_chart_holds_the_definition_that_the_operator_prints() {
    let same = read("crds/eventconsumergroups.yaml")
        == read("charts/eventbus/files/eventconsumergroups.yaml");
    assert!(same, "cp crds/eventconsumergroups.yaml charts/eventbus/files/");
}

#[test]
fn every_value_of_the_chart_has_a_place_in_its_schema_and_every_place_a_default() {
    let values: Value = serde_yaml::from_str(&read("charts/eventbus/values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("charts/eventbus/values.schema.json")).unwrap();
    let mut declared = Vec::new();
    paths_of_schema(&schema, &schema, "", &mut declared);
    let mut given = Vec::new();
    paths_of_values(&values, &declared, "", &mut given);
    declared.retain(|path| path != "global" && !path.ends_with(".claims"));
    declared.sort();
    given.sort();
    assert_eq!(given, declared);
}

#[test]
fn the_version_of_the_chart_is_that_of_the_programs() {
    let chart: Value = serde_yaml::from_str(&read("charts/eventbus/Chart.yaml")).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}

/// The paths of all leaves that the schema names; what it leaves open is a leaf.
fn paths_of_schema(schema: &Value, node: &Value, path: &str, paths: &mut Vec<String>) {
    let target = node["$ref"].as_str().map(|reference| {
        schema.pointer(reference.trim_start_matches('#')).expect("the reference leads somewhere")
    });
    match target.unwrap_or(node)["properties"].as_object() {
        Some(properties) => properties
            .iter()
            .for_each(|(key, node)| paths_of_schema(schema, node, &join(path, key), paths)),
        None => paths.push(path.to_owned()),
    }
}

/// The paths of all values, as deep as `declared` knows them.
fn paths_of_values(value: &Value, declared: &[String], path: &str, paths: &mut Vec<String>) {
    match value.as_object() {
        Some(object) if !declared.iter().any(|known| known == path) => object
            .iter()
            .for_each(|(key, value)| paths_of_values(value, declared, &join(path, key), paths)),
        _ => paths.push(path.to_owned()),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
