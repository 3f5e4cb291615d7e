//! The Lua scripts of the library.

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
