//! Environment of the process: variables and the host name.

use std::process::Command;

/// Returns an environment variable. Bytes that are not UTF-8 are replaced by U+FFFD, which every setting refuses.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the edge where settings enter the program")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Returns the host name, which is the pod's name in Kubernetes; `None` if there is none.
#[must_use]
pub fn host_name() -> Option<String> {
    let of_linux = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let of_command = || {
        let output = Command::new("hostname").output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let name = variable("HOSTNAME").or_else(of_linux).or_else(of_command)?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
