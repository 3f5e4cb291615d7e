//! The Python programs in `tests/python`: other people's clients, of other people's libraries.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::subscriber::LONG;
use crate::wait;

/// Runs the program `name`, such as `publish.py`, with these arguments and returns what it prints.
///
/// # Panics
/// If `make setup` has not made the environment for it, or the program fails or hangs.
pub async fn run(name: &str, args: &[&str]) -> String {
    let python = interpreter();
    assert!(python.exists(), "there is no {}: run `make setup`", python.display());
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name);
    let output = Command::new(python)
        .arg(program)
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = wait::within("the program ends", LONG, output).await;
    let output = output.expect("Python can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed:\n{errors}");
    String::from_utf8(output.stdout).expect("the program prints text")
}

/// Returns the path of the interpreter that `tests/python/setup` installs.
#[expect(clippy::disallowed_methods, reason = "the user's cache is named by the environment")]
fn interpreter() -> PathBuf {
    let given = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let cache = given.map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("a user has a home")).join(".cache")
    });
    cache.join("eventbus/python/bin/python")
}
