//! Trimming and dropping on a task of its own, one script at a time, so that no publish waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use eventbus_core::names::StreamKey;
use eventbus_core::retention::{HardCap, Overflow, Retention, SLACK, TrimMode};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, chain};
use crate::metrics::StreamMetrics;
use crate::redis::SharedConnection;
use crate::scripts::drop_oldest::drop_oldest;
use crate::scripts::trim::{MAX_REMOVED, TrimHold, Trimmed, trim};

/// Pause between two rounds, however fast events are published.
const PAUSE: Duration = Duration::from_millis(100);
/// Interval between two log lines of one kind.
const LOG_EVERY: Duration = Duration::from_secs(3600);

/// Trimmer of one stream. Clones share its task; dropping the last clone ends it.
#[derive(Clone)]
pub(crate) struct Trimmer {
    inner: Arc<Inner>,
    /// `None` if the settings require neither trimming nor dropping.
    _task: Option<Arc<AbortOnDropHandle<()>>>,
}

struct Inner {
    connection: SharedConnection,
    stream: StreamKey,
    retention: Retention,
    missing_hold: Duration,
    metrics: StreamMetrics,
    requested: Notify,
    published: AtomicU64,
    /// `true` if trimming is configured and was not refused for want of permission.
    trims: AtomicBool,
    /// Locked while a script runs, so that one runs at a time.
    logged: Mutex<Logged>,
}

/// Times of the last log lines, by kind.
#[derive(Debug, Default)]
struct Logged {
    hold: Option<Duration>,
    failed: Option<Duration>,
    /// Missing groups that were logged as no longer holding trimming back.
    released: BTreeSet<String>,
}

impl Trimmer {
    /// Starts to trim `stream`, on `connection`.
    pub fn start(
        connection: SharedConnection,
        stream: StreamKey,
        retention: Retention,
        missing_hold: Duration,
        metrics: StreamMetrics,
    ) -> Self {
        let trims = retention.mode != TrimMode::None;
        let inner = Arc::new(Inner {
            connection,
            stream,
            requested: Notify::new(),
            published: AtomicU64::new(0),
            trims: AtomicBool::new(trims),
            logged: Mutex::default(),
            metrics,
            missing_hold,
            retention,
        });
        let needed = trims || inner.drops().is_some();
        let task = needed.then(|| {
            let inner = inner.clone();
            Arc::new(AbortOnDropHandle::new(tokio::spawn(async move { inner.run().await })))
        });
        Self { inner, _task: task }
    }

    /// Counts a published event, and requests a round after every [`Retention::trim_after`] events.
    pub fn published(&self) {
        let before = self.inner.published.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(self.inner.retention.trim_after()) {
            self.request();
        }
    }

    /// Requests a round.
    pub fn request(&self) {
        self.inner.requested.notify_one();
    }

    /// Trims once, if trimming is configured and permitted, and returns the stream's length afterwards.
    ///
    /// # Errors
    /// The error of connecting, or Redis' answer.
    pub async fn trim_now(&self) -> Result<u64, Error> {
        let inner = &self.inner;
        let mut logged = inner.logged.lock().await;
        match inner.trim(&mut logged).await? {
            Some(trimmed) => Ok(trimmed.length),
            None => inner.length().await,
        }
    }
}

impl Inner {
    async fn run(&self) {
        loop {
            self.requested.notified().await;
            if let Err(error) = self.round().await
                && is_due(&mut self.logged.lock().await.failed, uptime())
            {
                let (stream, error) = (&self.stream, chain(&error));
                tracing::warn!(%stream, %error, "cannot trim the stream; retrying");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Trims until one script is enough. A publisher at the hard cap may trim between two of them.
    async fn round(&self) -> Result<(), Error> {
        loop {
            let trimmed = self.trim(&mut *self.logged.lock().await).await?;
            let max = self.retention.max_entries + SLACK;
            if !trimmed.is_some_and(|trimmed| trimmed.removed > 0 && trimmed.length >= max) {
                break;
            }
        }
        if let Some(cap) = self.drops() {
            self.drop_down_to(cap).await?;
        }
        Ok(())
    }

    /// Trims once. Returns `None` if trimming is not configured or not permitted.
    async fn trim(&self, logged: &mut Logged) -> Result<Option<Trimmed>, Error> {
        if !self.trims.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let trimmed = match self.trim_once().await {
            Err(error) if error.code() == Some("NOPERM") => {
                self.trims.store(false, Ordering::Relaxed);
                let (stream, error) = (&self.stream, chain(&error));
                if self.retention.mode == TrimMode::MaxLen {
                    tracing::warn!(%stream, %error, "no permission to remove entries one by one: XADD removes them only where a whole node of the stream is beyond the maximum");
                } else {
                    tracing::warn!(%stream, %error, "no permission to trim; other publishers have to");
                }
                return Ok(None);
            }
            // The hard cap is enforced all the same.
            Err(error) if error.code().is_some() => {
                if is_due(&mut logged.failed, uptime()) {
                    let (stream, error) = (&self.stream, chain(&error));
                    tracing::warn!(%stream, %error, "cannot trim the stream");
                }
                return Ok(None);
            }
            result => result?,
        };
        self.metrics.trimmed(trimmed.removed);
        self.log_released(&trimmed.released, logged);
        if let Some(hold) = &trimmed.hold
            && is_due(&mut logged.hold, uptime())
        {
            log_hold(&self.stream, hold, trimmed.length);
        }
        Ok(Some(trimmed))
    }

    /// Runs the script of `acked`, or removes with `maxlen` what XADD left because it removes whole nodes only.
    async fn trim_once(&self) -> Result<Trimmed, Error> {
        let max = self.retention.max_entries;
        if self.retention.mode != TrimMode::MaxLen {
            let (number, mut conn) = self.connection.open().await?;
            let result = trim(&mut conn, &self.stream, max, self.missing_hold).await;
            return self.connection.judge(number, result);
        }
        let length = self.length().await?;
        let removed = if length < max + SLACK {
            0
        } else {
            let mut command = redis::cmd("XTRIM");
            let length = max.max(length.saturating_sub(MAX_REMOVED));
            command.arg(self.stream.as_str()).arg("MAXLEN").arg(length);
            self.number("trim", &command).await?
        };
        let length = length.saturating_sub(removed);
        Ok(Trimmed { removed, length, hold: None, released: Vec::new() })
    }

    /// Logs and counts each missing group once that holds trimming back no longer.
    fn log_released(&self, released: &[String], logged: &mut Logged) {
        for group in released {
            if logged.released.insert(group.clone()) {
                tracing::warn!(stream = %self.stream, group, hold = ?self.missing_hold,
                    "a declared group has been missing for REDIS_MISSING_GROUP_HOLD and no longer holds trimming back: \
                     create it again, or remove its declaration with forget_consumer_group");
                self.metrics.released(group.clone());
            }
        }
    }

    async fn drop_down_to(&self, cap: HardCap) -> Result<(), Error> {
        let from = cap.entries + cap.step();
        while self.length().await? >= from {
            let (number, mut conn) = self.connection.open().await?;
            let result = drop_oldest(&mut conn, &self.stream, cap.step(), from).await;
            let dropped = self.connection.judge(number, result)?;
            let stream = &self.stream;
            if let Some(error) = dropped.problem {
                tracing::error!(%stream, %error, "cannot count dropped entries in Redis; only the metrics of this process count them");
            }
            for (group, lost) in dropped.lost {
                tracing::warn!(%stream, group, lost, "the stream is at its hard cap: dropped entries that the group had not acknowledged");
                self.metrics.dropped(group, lost);
            }
        }
        Ok(())
    }

    async fn length(&self) -> Result<u64, Error> {
        self.number("read the length", redis::cmd("XLEN").arg(self.stream.as_str())).await
    }

    /// Returns the number that Redis answers to a command on the stream.
    async fn number(&self, operation: &'static str, command: &redis::Cmd) -> Result<u64, Error> {
        let (number, mut conn) = self.connection.open().await?;
        let answer = command.query_async(&mut conn).await;
        let failed = |source: redis::RedisError| Error::Stream {
            operation,
            stream: self.stream.clone(),
            source: source.into(),
        };
        self.connection.judge(number, answer.map_err(failed))
    }

    fn drops(&self) -> Option<HardCap> {
        self.retention.hard_cap.filter(|cap| cap.overflow == Overflow::DropOldest)
    }
}

fn log_hold(stream: &StreamKey, hold: &TrimHold, length: u64) {
    match hold {
        TrimHold::NoGroup => {
            tracing::warn!(%stream, length, "cannot trim the stream: it has no group");
        }
        TrimHold::Missing { group } => {
            tracing::warn!(%stream, group, length, "cannot trim the stream: a declared group is missing");
        }
        TrimHold::Ahead { group } => {
            tracing::warn!(%stream, group, length, "cannot trim the stream: a group is ahead of it");
        }
        TrimHold::Behind { group, entries } => {
            tracing::warn!(%stream, group, entries, "cannot trim all entries beyond the maximum: a group has not acknowledged them");
        }
        TrimHold::Node { entries, node } => {
            tracing::warn!(%stream, entries, node, "cannot trim all entries beyond the maximum: they share a node of the stream with others; grant the Redis user XRANGE, or set the server's stream-node-max-entries to 100");
        }
    }
}

/// Returns `true` if a log line is due, once an hour, and records its time.
fn is_due(logged_at: &mut Option<Duration>, now: Duration) -> bool {
    let is_due = logged_at.is_none_or(|at| now >= at + LOG_EVERY);
    if is_due {
        *logged_at = Some(now);
    }
    is_due
}

/// Returns the time since the first call.
#[expect(clippy::disallowed_methods, reason = "the edge that measures an hour")]
fn uptime() -> Duration {
    static FIRST: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let first = *FIRST;
    Instant::now() - first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_logged_once_an_hour() {
        let mut logged_at = None;
        let now = [0, 1, 3_599, 3_600, 3_601, 7_199, 7_200].map(Duration::from_secs);
        let due = now.map(|now| is_due(&mut logged_at, now));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
