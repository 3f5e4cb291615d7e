//! The workspace: which crate may use which, where dependencies are declared, and that every test is run.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The crates of this workspace, each with those of them that it may use.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("eventbus-core", &[]),
    ("eventbus", &["eventbus-core"]),
    ("eventbus-api", &[]),
    ("eventbus-program", &["eventbus"]),
    ("eventbus-operator", &["eventbus", "eventbus-api", "eventbus-core", "eventbus-program"]),
    ("eventbus-consumer", &["eventbus", "eventbus-core", "eventbus-program"]),
    ("examples", &["eventbus", "eventbus-program"]),
    ("seraaj", &["eventbus", "eventbus-program"]),
    (
        "tests",
        &["eventbus", "eventbus-api", "eventbus-consumer", "eventbus-core", "eventbus-operator"],
    ),
];

/// The crates that may depend on Kubernetes' client or types.
const MAY_USE_KUBERNETES: [&str; 3] = ["eventbus-api", "eventbus-operator", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The crates of this workspace, as cargo tells of them.
#[expect(clippy::disallowed_methods, reason = "cargo tells its own path by the environment")]
fn crates() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let Value::Array(crates) = metadata["packages"].take() else { panic!("{metadata}") };
    crates
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().unwrap().iter()
}

#[test]
fn every_crate_has_a_rule_and_every_rule_has_its_crate() {
    let crates = crates();
    let names: BTreeSet<&str> = crates.iter().map(|package| text(package, "name")).collect();
    let ruled: BTreeSet<&str> = MAY_USE.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ruled);
    let mentioned = MAY_USE.into_iter().flat_map(|(_, used)| used).chain(&MAY_USE_KUBERNETES);
    let unknown: Vec<_> = mentioned.filter(|name| !names.contains(*name)).collect();
    assert_eq!(unknown, Vec::<&&str>::new());
}

#[test]
fn every_crate_uses_only_the_crates_that_it_may() {
    let rules = BTreeMap::from(MAY_USE);
    for package in &crates() {
        let name = text(package, "name");
        let allowed = rules.get(name).unwrap_or_else(|| panic!("{name} has no rule in MAY_USE"));
        let ours = dependencies(package).filter(|dependency| dependency["path"].is_string());
        for used in ours.map(|dependency| text(dependency, "name")) {
            assert!(allowed.contains(&used), "{name} must not use {used}");
        }
    }
}

#[test]
fn only_the_operator_its_types_and_the_tests_use_kubernetes() {
    for package in &crates() {
        let name = text(package, "name");
        let kubernetes = dependencies(package)
            .map(|dependency| text(dependency, "name"))
            .find(|used| used.starts_with("kube") || used.starts_with("k8s"));
        assert!(
            kubernetes.is_none() || MAY_USE_KUBERNETES.contains(&name),
            "{name}: {kubernetes:?}"
        );
    }
}

#[test]
fn every_dependency_is_declared_in_the_workspace_once() {
    for package in &crates() {
        let manifest = fs::read_to_string(text(package, "manifest_path")).unwrap();
        let mut in_dependencies = false;
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            } else if in_dependencies && line.contains('=') && !line.starts_with('#') {
                let inherited =
                    line.contains("workspace = true") || line.contains(".workspace=true");
                assert!(inherited, "{}: {line}", text(package, "name"));
            }
        }
    }
}

#[test]
fn every_crate_keeps_the_lints_of_the_workspace() {
    for package in &crates() {
        let manifest = fs::read_to_string(text(package, "manifest_path")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{}", text(package, "name"));
    }
}

#[test]
fn every_file_of_tests_is_compiled() {
    let crates = crates();
    let tests = crates.iter().find(|package| package["name"] == "tests").unwrap();
    let targets = tests["targets"].as_array().unwrap().iter();
    let compiled: BTreeSet<&str> = targets.map(|target| text(target, "src_path")).collect();
    let directory = root().join("tests/tests");
    for entry in fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            assert!(compiled.contains(path.to_str().unwrap()), "{} is no test", path.display());
            continue;
        }
        let main = path.join("main.rs");
        assert!(compiled.contains(main.to_str().unwrap()), "{} is no test", path.display());
        let modules = fs::read_to_string(main).unwrap();
        for module in fs::read_dir(&path).unwrap() {
            let module = module.unwrap().path();
            let name = module.file_stem().unwrap().to_str().unwrap();
            let declared = modules.lines().any(|line| line == format!("mod {name};"));
            assert!(name == "main" || declared, "{} is not compiled", module.display());
        }
    }
}
