//! Trims and drops for a publisher: beside it, one script at a time, so that no publish waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use eventbus_core::names::StreamKey;
use eventbus_core::retention::{HardCap, Overflow, Retention, TrimMode};
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, chain};
use crate::metrics::StreamMetrics;
use crate::redis::SharedConnection;
use crate::scripts::drop_oldest::drop_oldest;
use crate::scripts::trim::{HeldBy, MAX_REMOVED, Trimmed, trim};

/// Between two rounds, however fast events are published.
const PAUSE: Duration = Duration::from_millis(100);
const SAY_EVERY: Duration = Duration::from_secs(3600);

/// Keeps one stream; clones share the work. It ends with the last of them.
#[derive(Clone)]
pub(crate) struct Trimmer {
    inner: Arc<Inner>,
    /// `None` where the settings leave nothing to do.
    _task: Option<Arc<AbortOnDropHandle<()>>>,
}

struct Inner {
    connection: SharedConnection,
    stream: StreamKey,
    retention: Retention,
    missing_hold: Duration,
    metrics: StreamMetrics,
    wake: Notify,
    published: AtomicU64,
    /// Whether trimming is wanted, and was not refused for want of a right.
    trims: AtomicBool,
    /// What was said when; held while a script runs, so that one runs at a time.
    said: Mutex<Said>,
}

/// When something was last said.
#[derive(Debug, Default)]
struct Said {
    held: Option<Duration>,
    failed: Option<Duration>,
    /// Missing groups that hold trimming back no longer.
    released: BTreeSet<String>,
}

impl Trimmer {
    /// Begins to keep `stream`, on `connection`.
    pub fn start(
        connection: SharedConnection,
        stream: StreamKey,
        retention: Retention,
        missing_hold: Duration,
        metrics: StreamMetrics,
    ) -> Self {
        let trims = retention.mode == TrimMode::Acked;
        let inner = Arc::new(Inner {
            connection,
            stream,
            wake: Notify::new(),
            published: AtomicU64::new(0),
            trims: AtomicBool::new(trims),
            said: Mutex::default(),
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

    /// Counts an event that stands in the stream now.
    pub fn published(&self) {
        let before = self.inner.published.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(self.inner.retention.trim_after()) {
            self.wake();
        }
    }

    /// Has a round made soon.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    /// Trims once, where that is wanted and allowed, and answers how long the stream is then.
    ///
    /// # Errors
    /// What Redis answered.
    pub async fn make_room(&self) -> Result<u64, Error> {
        let inner = &self.inner;
        let mut said = inner.said.lock().await;
        match inner.trim(&mut said).await? {
            Some(trimmed) => Ok(trimmed.length),
            None => inner.length().await,
        }
    }
}

impl Inner {
    async fn run(&self) {
        loop {
            self.wake.notified().await;
            let mut said = self.said.lock().await;
            if let Err(error) = self.tidy(&mut said).await
                && due(&mut said.failed, uptime())
            {
                let (stream, error) = (&self.stream, chain(&error));
                tracing::warn!(%stream, %error, "the stream was not trimmed; it is tried again");
            }
            drop(said);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn tidy(&self, said: &mut Said) -> Result<(), Error> {
        // Again at once only where one script was not enough.
        let plenty = MAX_REMOVED / 2;
        while self.trim(said).await?.is_some_and(|trimmed| trimmed.removed >= plenty) {}
        if let Some(cap) = self.drops() {
            self.drop_down_to(cap).await?;
        }
        Ok(())
    }

    /// `None` where trimming is not wanted, or not allowed.
    async fn trim(&self, said: &mut Said) -> Result<Option<Trimmed>, Error> {
        if !self.trims.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let (number, mut conn) = self.connection.open().await?;
        let keep = self.retention.max_entries;
        let result = trim(&mut conn, &self.stream, keep, self.missing_hold).await;
        let trimmed = match self.connection.judge(number, result) {
            Err(error) if error.code() == Some("NOPERM") => {
                self.trims.store(false, Ordering::Relaxed);
                let (stream, error) = (&self.stream, chain(&error));
                tracing::warn!(%stream, %error, "this publisher leaves trimming to others");
                return Ok(None);
            }
            // The cap is kept all the same.
            Err(error) if error.code().is_some() => {
                if due(&mut said.failed, uptime()) {
                    let (stream, error) = (&self.stream, chain(&error));
                    tracing::warn!(%stream, %error, "the stream cannot be trimmed");
                }
                return Ok(None);
            }
            result => result?,
        };
        self.metrics.trimmed(trimmed.removed);
        self.note_released(&trimmed.released, said);
        if let Some(held_by) = &trimmed.held_by
            && due(&mut said.held, uptime())
        {
            say(&self.stream, held_by, trimmed.length);
        }
        Ok(Some(trimmed))
    }

    /// Logs and counts each missing group once that holds trimming back no longer.
    fn note_released(&self, released: &[String], said: &mut Said) {
        for group in released {
            if said.released.insert(group.clone()) {
                tracing::warn!(stream = %self.stream, group, hold = ?self.missing_hold,
                    "a declared group has been missing for REDIS_MISSING_GROUP_HOLD and no longer holds back trimming: \
                     create it again, or remove its declaration by forget_consumer_group");
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
                tracing::error!(%stream, %error, "dropped entries are counted by this process alone");
            }
            for (group, lost) in dropped.lost {
                tracing::warn!(%stream, group, lost, "the stream is full: entries were dropped");
                self.metrics.dropped(group, lost);
            }
        }
        Ok(())
    }

    async fn length(&self) -> Result<u64, Error> {
        let (number, mut conn) = self.connection.open().await?;
        let answer = redis::cmd("XLEN").arg(self.stream.as_str()).query_async(&mut conn).await;
        let failed = |source: redis::RedisError| Error::Stream {
            operation: "ask for the length",
            stream: self.stream.clone(),
            source: source.into(),
        };
        self.connection.judge(number, answer.map_err(failed))
    }

    fn drops(&self) -> Option<HardCap> {
        self.retention.hard_cap.filter(|cap| cap.overflow == Overflow::DropOldest)
    }
}

fn say(stream: &StreamKey, held_by: &HeldBy, length: u64) {
    match held_by {
        HeldBy::NoGroup => {
            tracing::warn!(%stream, length, "nothing is trimmed: the stream has no group");
        }
        HeldBy::Missing { group } => {
            tracing::warn!(%stream, group, length, "nothing is trimmed: a declared group is missing");
        }
        HeldBy::Ahead { group } => {
            tracing::warn!(%stream, group, length, "nothing is trimmed: a group is ahead of the stream");
        }
        HeldBy::Behind { group, entries } => {
            tracing::warn!(%stream, group, entries, "a group holds entries back from being trimmed");
        }
    }
}

/// Whether something may be said now, and that it is: once an hour.
fn due(said_at: &mut Option<Duration>, now: Duration) -> bool {
    let due = said_at.is_none_or(|at| now >= at + SAY_EVERY);
    if due {
        *said_at = Some(now);
    }
    due
}

/// Since the first call.
#[expect(clippy::disallowed_methods, reason = "the edge that tells an hour")]
fn uptime() -> Duration {
    static FIRST: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let first = *FIRST;
    Instant::now() - first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_the_stream_is_said_once_an_hour() {
        let mut said = None;
        let now = [0, 1, 3_599, 3_600, 3_601, 7_199, 7_200].map(Duration::from_secs);
        let due = now.map(|now| due(&mut said, now));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
