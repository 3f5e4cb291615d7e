//! The scripts of the library are pairs: a `.lua` and the `.rs` with its typed arguments and reply.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tests::sources::packages::root;
use tests::sources::scripts::files;

fn folder() -> PathBuf {
    root().join("bus/src/scripts")
}

/// The names of the files directly in `folder` that end in `.extension`.
fn names(folder: &Path, extension: &str) -> BTreeSet<String> {
    let files = files(folder, extension).into_iter().filter(|file| file.parent() == Some(folder));
    files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_script_is_a_pair_of_files() {
    let mut modules = names(&folder(), "rs");
    modules.remove("tests");
    assert_eq!(names(&folder(), "lua"), modules);
}

#[test]
fn every_file_of_helpers_is_put_in_front_of_some_script() {
    let modules = files(&folder(), "rs").into_iter().map(|file| fs::read_to_string(file).unwrap());
    let modules: String = modules.collect();
    let helpers = names(&folder().join("common"), "lua");
    assert!(!helpers.is_empty());
    for helper in helpers {
        let include = format!("include_str!(\"common/{helper}.lua\")");
        assert!(modules.contains(&include), "no script uses common/{helper}.lua");
    }
}
