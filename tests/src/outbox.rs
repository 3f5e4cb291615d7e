//! An [`EventBus`] with an outbox on stream `s` of a test's own server, and what came of its events.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use ::redis::streams::StreamRangeReply;
use eventbus::admin::Connection;
use eventbus::config::{BusConfig, OutboxConfig};
use eventbus::{Error, EventBus, NewEvent, Payload, PublishOutcome, StreamKey};
use tempfile::TempDir;

use crate::redis::RedisServer;
use crate::subscriber::LONG;
use crate::wait;
use crate::watchdog::Watchdog;

/// A directory on the disk that cargo builds on: what is temporary may be in memory.
///
/// # Panics
/// If none can be made.
#[must_use]
pub fn directory() -> TempDir {
    let target = env!("CARGO_MANIFEST_DIR");
    let built = Path::new(target).join("../target");
    let parent = if built.is_dir() { built } else { std::env::temp_dir() };
    tempfile::tempdir_in(parent).expect("a temporary directory can be made")
}

/// The settings of a bus on `server` with an outbox in `dir`.
///
/// # Panics
/// Never.
#[must_use]
pub fn config(server: &RedisServer, dir: &Path) -> BusConfig {
    let stream = StreamKey::new("s").expect("it is a key");
    let outbox = Some(OutboxConfig::new(dir));
    {
        let mut config = BusConfig::new(server.config(), stream);
        config.outbox = outbox;
        config
    }
}

/// A bus with these settings, as soon as the outbox before it in the same directory has ended.
///
/// # Panics
/// If it does not connect.
pub async fn open(config: BusConfig) -> EventBus {
    let open = async || match EventBus::connect(config.clone()).await {
        Err(Error::OutboxTaken { .. }) => None,
        opened => Some(opened),
    };
    wait::until("the outbox is free", LONG, open).await.expect("it connects")
}

/// An event with `n` as its id and its payload.
///
/// # Panics
/// Never.
#[must_use]
pub fn event(n: usize) -> NewEvent {
    let payload = Payload::from_text(n.to_string()).expect("a number is JSON");
    NewEvent::new("t", payload).with_id(n.to_string())
}

/// Publishes events `numbers`, one behind the other, and answers what became of each.
///
/// # Panics
/// If one is neither kept nor published.
pub async fn publish(
    bus: &EventBus,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<PublishOutcome> {
    let mut outcomes = Vec::new();
    for n in numbers {
        outcomes.push(bus.publish_or_spool(event(n)).await.expect("it is kept"));
    }
    outcomes
}

/// The ids of the events in the stream, in its order.
///
/// # Panics
/// If the stream's key is no stream.
pub async fn ids(conn: &mut Connection) -> Vec<String> {
    let mut range = ::redis::cmd("XRANGE");
    let range = range.arg("s").arg("-").arg("+");
    let reply: StreamRangeReply = range.query_async(conn).await.expect("it is a stream, or none");
    let id = |entry: ::redis::streams::StreamId| entry.get("id").expect("an event has an id");
    reply.ids.into_iter().map(id).collect()
}

/// The same, each at its first place alone.
pub async fn first_ids(conn: &mut Connection) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    let mut ids = ids(conn).await;
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

/// The program `outbox-publisher` at `path`, as it runs; it is killed when this is dropped.
pub struct Publisher {
    child: Child,
    _watchdog: Watchdog,
    output: TempDir,
}

impl Publisher {
    /// Starts it by way of `command`, with `settings` alone as its environment, and an outbox in `dir`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(
        mut command: Command,
        server: &RedisServer,
        dir: &Path,
        settings: &[(&str, &str)],
    ) -> Self {
        let output = tempfile::tempdir().expect("a temporary directory can be made");
        let file = |name: &str| {
            std::fs::File::create(output.path().join(name)).expect("the directory can be written")
        };
        command.env_clear().envs(settings.iter().copied());
        command.env("PATH", "/usr/bin:/bin").env("REDIS_URL", server.url());
        command.env("REDIS_STREAM_NAME", "s").env("REDIS_OUTBOX_DIR", dir);
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let child = command.spawn().expect("the program can be started");
        Self { _watchdog: Watchdog::over(child.id()), child, output }
    }

    /// The lines that it has written so far, whole ones.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let text = self.text("out");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until it has written so many lines.
    ///
    /// # Panics
    /// If that takes too long; with what it wrote on standard error.
    pub async fn has_written(&mut self, lines: usize) {
        let check = async || (self.lines().len() >= lines).then_some(());
        let waited = tokio::time::timeout(LONG, wait::until("it writes", 2 * LONG, check)).await;
        assert!(waited.is_ok(), "{} of {lines} lines\n{}", self.lines().len(), self.text("err"));
    }

    /// Returns what it wrote to standard error.
    #[must_use]
    pub fn errors(&self) -> String {
        self.text("err")
    }

    /// Bytes of memory that it uses now.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let file = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(file).expect("the program runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("the kernel tells it") * 1024
    }

    /// Kills it, as a crash does.
    ///
    /// # Panics
    /// If it cannot be awaited.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().expect("a child can be awaited");
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.output.path().join(name)).expect("the output can be read")
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
