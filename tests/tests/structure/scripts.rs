//! The Lua scripts of the library.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::sources::packages::{relative, root};
use tests::sources::scripts::{files, hidden_commands};

#[test]
fn every_call_to_redis_in_a_script_names_its_command() {
    let mut hidden = Vec::new();
    let scripts = files(&root().join("bus"), "lua");
    assert!(!scripts.is_empty(), "no script below bus/");
    for script in &scripts {
        let code = fs::read_to_string(script).unwrap();
        for line in hidden_commands(&code) {
            let text = code.lines().nth(line - 1).unwrap().trim();
            hidden.push(format!("{}:{line}: {text}", relative(script).display()));
        }
    }
    assert!(
        hidden.is_empty(),
        "proxies of managed servers read scripts for their commands:\n{}\nWrite redis.call('COMMAND', …) with the \
         name as a text, once for each command, in place of a function that passes it on.",
        hidden.join("\n")
    );
}

/// The names of the files directly in `folder` that end in `.extension`.
fn names(folder: &Path, extension: &str) -> BTreeSet<String> {
    let files = files(folder, extension).into_iter().filter(|file| file.parent() == Some(folder));
    files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_script_has_the_code_that_runs_it_beside_it() {
    let folder = root().join("bus/src/scripts");
    let (scripts, mut code) = (names(&folder, "lua"), names(&folder, "rs"));
    code.remove("tests");
    let without_code: Vec<_> = scripts.difference(&code).collect();
    let without_script: Vec<_> = code.difference(&scripts).collect();
    assert!(
        without_code.is_empty() && without_script.is_empty(),
        "bus/src/scripts: .lua files without a .rs file of their name: {without_code:?}; .rs files without a .lua file: \
         {without_script:?}\nThe arguments and the reply of a script are typed in the .rs file beside it; what several \
         scripts share belongs in common/."
    );
}

#[test]
fn every_file_of_helpers_is_put_in_front_of_some_script() {
    let folder = root().join("bus/src/scripts");
    let code = files(&folder, "rs").into_iter().map(|file| fs::read_to_string(file).unwrap());
    let code: String = code.collect();
    let helpers = names(&folder.join("common"), "lua");
    assert!(!helpers.is_empty(), "no helper in common/");
    for helper in helpers {
        let include = format!("include_str!(\"common/{helper}.lua\")");
        assert!(code.contains(&include), "no script uses common/{helper}.lua");
    }
}
