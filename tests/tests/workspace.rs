//! The workspace: which crate may use which, where dependencies are declared, and that every test is run.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use tests::sources::packages::{features, packages, root, text};

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

/// The crate of what decides.
const PURE: &str = "eventbus-core";

/// What the pure crate may not have among its dependencies, nor theirs: what acts, waits, logs, knows the time by itself
/// or makes random numbers. Each stands for all crates whose name begins with it.
const ACTING: [&str; 24] = [
    "async-std",
    "axum",
    "chrono",
    "clap",
    "fastrand",
    "futures",
    "getrandom",
    "hyper",
    "k8s-openapi",
    "kube",
    "log",
    "mio",
    "prometheus",
    "rand",
    "redis",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "time",
    "tokio",
    "tracing",
    "uuid",
    "web-time",
];

/// The features that the pure crate may enable of crates that have a clock or threads in others.
const PURE_FEATURES: [(&str, &[&str]); 1] = [("jiff", &["alloc", "perf-inline", "serde"])];

fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().unwrap().iter()
}

#[test]
fn every_crate_has_a_rule_and_every_rule_has_its_crate() {
    let crates = packages();
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
    for package in &packages() {
        let name = text(package, "name");
        let allowed = rules.get(name).unwrap_or_else(|| panic!("{name} has no rule in MAY_USE"));
        let ours = dependencies(package).filter(|dependency| dependency["path"].is_string());
        for used in ours.map(|dependency| text(dependency, "name")) {
            assert!(allowed.contains(&used), "{name} must not use {used}");
        }
    }
}

#[test]
fn every_allowed_use_is_made() {
    let rules = BTreeMap::from(MAY_USE);
    for package in &packages() {
        let name = text(package, "name");
        let used: Vec<&str> =
            dependencies(package).map(|dependency| text(dependency, "name")).collect();
        let allowed = rules.get(name).copied().unwrap_or_default();
        let idle: Vec<_> = allowed.iter().filter(|allowed| !used.contains(allowed)).collect();
        assert!(
            idle.is_empty(),
            "{name} does not use {idle:?}: remove it from its rule in MAY_USE"
        );
    }
}

/// Lists what a pure crate may not have among these dependencies and their features.
fn impurities(tree: &[(String, Vec<String>)]) -> Vec<String> {
    let limits = BTreeMap::from(PURE_FEATURES);
    let mut found = Vec::new();
    for (name, features) in tree {
        if ACTING.iter().any(|acting| name.starts_with(acting)) {
            found.push(format!("{name} acts by itself: pass in what it would do as an argument"));
        }
        let Some(allowed) = limits.get(name.as_str()) else { continue };
        let more = features.iter().filter(|feature| !allowed.contains(&feature.as_str()));
        found.extend(more.map(|feature| format!("{name} has the feature {feature}: disable it")));
    }
    found
}

#[test]
fn what_decides_has_no_crate_that_acts() {
    let found = impurities(&features(PURE));
    assert!(found.is_empty(), "{PURE}:\n{}", found.join("\n"));
}

#[test]
fn a_crate_that_acts_and_a_clock_among_the_features_are_found() {
    let tree = |name: &str, features: &[&str]| {
        (name.to_owned(), features.iter().map(|&feature| feature.to_owned()).collect())
    };
    let pure = [tree("jiff", &["alloc", "serde"]), tree("serde_json", &["std"])];
    assert_eq!(impurities(&pure), Vec::<String>::new());
    let impure = [tree("jiff", &["alloc", "std"]), tree("tokio-util", &[])];
    assert_eq!(impurities(&impure).len(), 2);
}

#[test]
fn only_the_operator_its_types_and_the_tests_use_kubernetes() {
    for package in &packages() {
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
    for package in &packages() {
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
    for package in &packages() {
        let manifest = fs::read_to_string(text(package, "manifest_path")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{}", text(package, "name"));
    }
}

#[test]
fn every_file_of_tests_is_compiled() {
    let crates = packages();
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
