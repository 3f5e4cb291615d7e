//! Nothing outlives a test that was killed: it could not clean up any more.

use std::process::{Child, Command, Stdio};

/// Ends a process as soon as the test's own process is gone, however that went.
pub struct Watchdog(Child);

impl Watchdog {
    /// Watches over the process `pid`.
    #[must_use]
    pub fn over(pid: u32) -> Self {
        // The end of its input tells that this process is gone; the signal of an interrupt is meant for all but it.
        let script = format!("trap '' INT; read _; kill -KILL {pid}");
        let child = Command::new("sh").arg("-c").arg(script).stdin(Stdio::piped()).spawn();
        Self(child.expect("there is a shell"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.kill().expect("the watchdog runs until now");
        self.0.wait().expect("a child can be awaited");
    }
}
