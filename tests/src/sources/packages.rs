//! The packages of the workspace, as `cargo metadata` lists them.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::Crate;

/// The folder of the workspace.
///
/// # Panics
/// Never: this package is in a folder of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace")
}

/// Reads the packages of this workspace.
///
/// # Panics
/// If cargo fails.
#[must_use]
pub fn packages() -> Vec<Value> {
    let output = cargo(&["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let mut metadata: Value = serde_json::from_str(&output).expect("it is JSON");
    let Value::Array(packages) = metadata["packages"].take() else { panic!("{metadata}") };
    packages
}

/// Lists all crates that a package is built with when it is built alone, each with its features; the first is itself.
///
/// # Panics
/// If cargo fails, such as where there is no such package.
#[must_use]
pub fn features(package: &str) -> Vec<(String, Vec<String>)> {
    let tree = ["tree", "--frozen", "--edges", "normal,build", "--prefix", "none"];
    let form = ["--format", "{p}|{f}", "--package", package];
    let output = cargo(&[&tree[..], &form].concat());
    let lines = output.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    let listed = lines.map(|(package, features)| {
        let name = package.split(' ').next().unwrap_or_default();
        let features = features.split(',').filter(|feature| !feature.is_empty());
        (name.to_owned(), features.map(str::to_owned).collect())
    });
    listed.collect()
}

#[expect(clippy::disallowed_methods, reason = "cargo passes its own path by the environment")]
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(arguments).current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// Returns the text of a field that cargo always writes.
///
/// # Panics
/// If the field is missing or no text.
#[must_use]
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// One target of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The package it belongs to.
    pub package: String,
    /// Its name as code uses it, with underscores.
    pub ident: String,
    /// `lib`, `bin`, `example`, `test` or `bench`.
    pub kind: String,
    /// The file with its root module.
    pub root: PathBuf,
}

impl Target {
    /// Reads its modules.
    #[must_use]
    pub fn read(&self) -> Crate {
        let ident = (self.kind == "lib").then_some(self.ident.as_str());
        Crate::read(&self.package, ident, &self.root)
    }
}

/// Every target of every package but build scripts.
///
/// # Panics
/// If cargo fails.
#[must_use]
pub fn targets() -> Vec<Target> {
    let mut all = Vec::new();
    for package in packages() {
        for target in package["targets"].as_array().expect("targets are an array") {
            let kind = target["kind"][0].as_str().expect("a target has a kind");
            all.push(Target {
                package: text(&package, "name").to_owned(),
                ident: text(target, "name").replace('-', "_"),
                kind: if kind == "proc-macro" { "lib" } else { kind }.to_owned(),
                root: PathBuf::from(text(target, "src_path")),
            });
        }
    }
    all.retain(|target| target.kind != "custom-build");
    all
}

/// Returns `path` as seen from the folder of the workspace, for messages.
#[must_use]
pub fn relative(path: &Path) -> &Path {
    path.strip_prefix(root()).unwrap_or(path)
}
