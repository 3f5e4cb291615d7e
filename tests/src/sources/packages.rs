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
#[expect(clippy::disallowed_methods, reason = "cargo passes its own path by the environment")]
pub fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let Value::Array(packages) = metadata["packages"].take() else { panic!("{metadata}") };
    packages
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
