//! The workspace's programs, built once and run as processes of their own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::wait;
use crate::watchdog::Watchdog;

/// Directory of the programs of this build, usually `target/debug`.
static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(build);

/// Prefixes of the variables that cargo sets for a test about its own crate. Build scripts that read them would run again,
/// with everything that depends on them, and once more at the next build without them.
const SET_BY_CARGO: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// The program `name` of this workspace, such as `consumer` or `examples/tour`. The first call of a process builds them all.
///
/// # Panics
/// If they cannot be built, or there is none of this name.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let path = DIRECTORY.join(name);
    assert!(path.is_file(), "the workspace has no program {name}");
    path
}

/// A program that runs; it is killed when this is dropped.
pub struct Running {
    child: Child,
    _watchdog: Watchdog,
    output: TempDir,
}

impl Running {
    /// Starts the program `name`, with these arguments and with these settings alone as its environment.
    #[must_use]
    pub fn start(name: &str, args: &[&str], settings: &[(&str, &str)]) -> Self {
        let output = tempfile::tempdir().expect("a temporary directory can be made");
        let log = File::create(output.path().join("log")).expect("the directory can be written");
        let child = Command::new(path(name))
            .args(args)
            .env_clear()
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a file can be opened twice"))
            .stdout(log)
            .spawn()
            .expect("the program can be started");
        Self { _watchdog: Watchdog::over(child.id()), child, output }
    }

    /// Returns what it has written so far to standard output and standard error.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.output.path().join("log")).expect("the log can be read")
    }

    /// Returns the most memory that it had at once so far, in bytes.
    #[must_use]
    pub fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the system tells what a process uses");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib =
            line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok());
        kib.expect("the peak is in KiB") * 1024
    }

    /// Asks it to end, as Kubernetes does.
    pub fn terminate(&self) {
        // `kill` is part of every shell, and not always a program.
        let command = format!("kill -TERM {}", self.child.id());
        let status = Command::new("sh").arg("-c").arg(command).status();
        assert!(status.expect("there is a shell").success(), "cannot send TERM");
    }

    /// Waits for its end and returns its exit status.
    ///
    /// # Panics
    /// If it does not end within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        wait::until("the program ends", limit, async || {
            child.try_wait().expect("a child can be asked")
        })
        .await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is an error to kill and none to await.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "cargo tells its own path by the environment")]
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its program");
    let directory = test.ancestors().nth(2).expect("cargo puts tests in target/<profile>/deps");
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bins", "--examples", "--profile", profile]);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    for (name, _) in std::env::vars_os() {
        if SET_BY_CARGO.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let output = command.output().expect("cargo can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the programs cannot be built:\n{errors}");
    directory.to_owned()
}
