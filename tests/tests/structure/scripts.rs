//! The Lua scripts of the library.

use std::collections::BTreeSet;
use std::fs;

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

#[test]
fn every_script_has_the_code_that_runs_it_beside_it() {
    let folder = root().join("bus/src/scripts");
    let names = |extension: &str| -> BTreeSet<String> {
        let beside = files(&folder, extension).into_iter();
        let beside = beside.filter(|file| file.parent() == Some(folder.as_path()));
        beside.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let (scripts, code) = (names("lua"), names("rs"));
    let without_code: Vec<_> =
        scripts.difference(&code).map(|name| format!("{name}.lua")).collect();
    let without_script: Vec<_> =
        code.difference(&scripts).map(|name| format!("{name}.rs")).collect();
    assert!(
        without_code.is_empty() && without_script.is_empty(),
        "bus/src/scripts: without a .rs file of its name: {without_code:?}; without a .lua file: {without_script:?}\n\
         The arguments and the reply of a script are typed in the .rs beside it; what several share belongs in a folder."
    );
}
