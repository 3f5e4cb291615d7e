//! Termination message: the reason for the end of a process, which Kubernetes shows in the status of its pod.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

/// Default path of the message in a container, where the kubelet mounts a file that everybody may write.
const PATH: &str = "/dev/termination-log";
/// Maximum number of characters. The kubelet cuts a message at 4,096 bytes.
const MAX: usize = 1_000;

/// Writes the reason for the end of this process where Kubernetes reads it. Does nothing outside of a container.
pub(crate) fn report(reason: &str) {
    // Without the file, or without permission to write it, the logs have the reason.
    write(Path::new(PATH), reason).ok();
}

/// Writes `reason` to a file that exists.
fn write(path: &Path, reason: &str) -> io::Result<()> {
    let reason: String = reason.chars().take(MAX).collect();
    OpenOptions::new().write(true).truncate(true).open(path)?.write_all(reason.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_11_a_reason_replaces_what_the_file_has() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("termination-log");
        std::fs::write(&path, "a longer text from before").unwrap();
        write(&path, "HANDLER_URL=\"x\": must be a URL").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "HANDLER_URL=\"x\": must be a URL");
        write(&path, &"é".repeat(5_000)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "é".repeat(1_000));
    }

    #[test]
    fn case_11_no_file_is_created_outside_of_a_container() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("termination-log");
        assert!(write(&path, "reason").is_err());
        assert!(!path.exists());
    }
}
