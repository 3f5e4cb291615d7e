//! Sends what is on disk, strictly in its order, and marks how far that has come.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventbus_core::names::EntryId;
use eventbus_core::retry::outage::Outage;
use futures::FutureExt;
use tokio::time::Instant;

use crate::error::{Error, chain};
use crate::publish::Batches;

use super::backlog::{Backlog, Piece};
use super::directory::{Directory, Found};
use super::mark::{Mark, Position};
use super::queue::{Body, Next, Queue};
use super::record::{self, Record};

/// Bytes in one batch, beyond its first record.
const MOST_BYTES: usize = 1024 * 1024;
/// How long nothing is sent after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(2);

/// The one that sends.
pub(super) struct Sender {
    directory: Arc<Directory>,
    queue: Arc<Queue>,
    batches: Batches,
    disk: Arc<Mutex<Disk>>,
    outage: Outage,
    started: Instant,
    /// When the oldest record that is not sent was made.
    oldest_ms: u64,
}

/// What the sender does on disk, on threads that may block.
struct Disk {
    mark: Mark,
    backlog: Backlog,
    directory: Arc<Directory>,
}

impl Sender {
    /// Sends what `queue` holds by way of `batches`.
    pub fn new(
        directory: Arc<Directory>,
        queue: Arc<Queue>,
        batches: Batches,
        found: Found,
    ) -> Self {
        let backlog = Backlog::new(directory.clone(), found.damaged);
        let disk = Disk { mark: found.mark, backlog, directory: directory.clone() };
        let (disk, outage, started) = (Arc::new(Mutex::new(disk)), Outage::default(), now());
        Self { directory, queue, batches, disk, outage, started, oldest_ms: 0 }
    }

    /// Runs without end: an event that Redis refuses is tried again, and what stands behind it waits.
    pub async fn run(mut self) {
        loop {
            // Nobody would notice that a task has ended which nothing but callers' time-outs waits for.
            if AssertUnwindSafe(self.step()).catch_unwind().await.is_err() {
                self.queue.failed();
                tracing::error!(stream = %self.directory.stream, "sending from the outbox failed in a way that it should not; it is tried again");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        }
    }

    async fn step(&mut self) {
        match self.queue.peek(self.batches.most(), MOST_BYTES) {
            Next::Nothing => {
                self.queue.metrics.oldest(Duration::ZERO);
                self.queue.added.notified().await;
            }
            Next::InMemory(records) => self.send(&records).await,
            Next::OnDisk(from, ends) => self.send_from_disk(from, ends).await,
        }
    }

    async fn send_from_disk(&mut self, from: Position, ends: BTreeMap<u64, u64>) {
        let most = self.batches.most();
        let failed = |(path, source)| Error::OutboxFile { operation: "read back", path, source };
        let read = self.on_disk(move |disk| disk.backlog.read(from, &ends, most)).await;
        match read.map_err(failed) {
            Ok(Piece { records, next, damaged }) => {
                self.queue.metrics.damaged(damaged);
                self.send(&records).await;
                if records.is_empty() {
                    let done = self.queue.skipped(next);
                    self.mark(next, done).await;
                }
            }
            Err(error) => self.fail(&error).await,
        }
    }

    async fn send(&mut self, records: &[(Body, Position)]) {
        if records.is_empty() {
            return;
        }
        let read = records.iter().filter_map(|(body, _)| record::read(body));
        let read: Vec<Record<'_>> = read.collect();
        self.oldest_ms = read.first().map_or(0, |record| record.made_ms);
        self.tell_oldest();
        let fields: Vec<_> = read.into_iter().map(|record| record.fields).collect();
        match self.batches.append(&fields).await {
            Ok(ids) => {
                // Fewer than were given, where they may only be sent one by one.
                let sent = ids.len().saturating_sub(1).min(records.len() - 1);
                self.confirm(&ids, records[sent].1).await;
            }
            Err(error) => self.fail(&error).await,
        }
    }

    /// Waits for what the setting `durability` asks for. As long as the events stand in the stream they are not sent
    /// again: they would stand there twice.
    async fn confirm(&mut self, ids: &[EntryId], next: Position) {
        while let Err(error) = self.batches.confirm(ids).await {
            self.fail(&error).await;
            if !matches!(error, Error::NotDurable { .. }) {
                return;
            }
        }
        let done = self.queue.sent(ids, next);
        let failures = self.outage.end();
        if failures > 0 {
            tracing::info!(stream = %self.directory.stream, failures, "the outbox is being sent again");
        }
        self.mark(next, done).await;
    }

    async fn mark(&mut self, next: Position, done: Vec<u64>) {
        let marked = self.on_disk(move |disk| {
            let marked = disk.mark.set(next);
            for segment in done {
                disk.directory.remove(segment);
            }
            marked
        });
        if let Err(error) = marked.await
            && let Some(times) = self.outage.say("mark".to_owned(), now() - self.started)
        {
            let dir = self.directory.path().display();
            tracing::warn!(%dir, %error, times, "how far the outbox is sent was not noted: after a restart it is sent again");
        }
    }

    /// Nobody waits for the sender while it fails.
    async fn fail(&mut self, error: &Error) {
        self.queue.failed();
        self.tell_oldest();
        let (wait, times) = self.outage.fail(error.cause(), now() - self.started, die());
        // The breaker opens because of what was said before.
        let is_new = !matches!(error, Error::BreakerOpen { .. });
        if let Some(times) = times.filter(|_| is_new) {
            let (stream, waiting, error) =
                (&self.directory.stream, self.queue.unsent(), chain(error));
            tracing::warn!(%stream, %error, times, waiting, "the outbox is not sent; it is tried again");
        }
        tokio::time::sleep(wait).await;
    }

    fn tell_oldest(&self) {
        let age = wall_clock_ms().saturating_sub(self.oldest_ms);
        self.queue.metrics.oldest(Duration::from_millis(age));
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Disk) -> T + Send + 'static,
    ) -> T {
        let disk = self.disk.clone();
        let working = tokio::task::spawn_blocking(move || {
            work(&mut disk.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match working.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that throws the die")]
fn die() -> f64 {
    rand::random()
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge that tells how old an event is")]
fn wall_clock_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
