//! Task that sends the outbox's events strictly in their order and records the position of the last sent one. An event
//! that Redis refuses for its own sake is set aside.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventbus_core::names::EntryId;
use eventbus_core::retry::outage::Outage;
use futures::FutureExt;
use tokio::time::Instant;

use crate::error::{Error, chain};
use crate::publish::OrderedSender;

use super::aside::{self, Note};
use super::backlog::{Backlog, Piece};
use super::directory::{Directory, Found};
use super::isolation::{Isolation, Step};
use super::mark::{Mark, Position};
use super::queue::{Body, Next, Queue};
use super::record::{self, Record};

/// Maximum size of a batch in bytes, beyond its first record.
const MAX_BYTES: usize = 1024 * 1024;
/// Pause after a panic.
const AFTER_PANIC: Duration = Duration::from_secs(2);

/// Sending task of the outbox.
pub(super) struct Sender {
    directory: Arc<Directory>,
    queue: Arc<Queue>,
    ordered: OrderedSender,
    disk: Arc<Mutex<Disk>>,
    outage: Outage,
    isolation: Isolation,
    started: Instant,
    /// Creation time of the oldest unsent record, milliseconds since 1970.
    oldest_ms: u64,
}

/// Files of the sender, used on threads that may block.
struct Disk {
    mark: Mark,
    backlog: Backlog,
    directory: Arc<Directory>,
}

impl Sender {
    /// Creates a sender of the records in `queue`.
    pub fn new(
        directory: Arc<Directory>,
        queue: Arc<Queue>,
        ordered: OrderedSender,
        found: Found,
    ) -> Self {
        let backlog = Backlog::new(directory.clone(), found.damaged);
        let disk = Disk { mark: found.mark, backlog, directory: directory.clone() };
        Self {
            directory,
            queue,
            ordered,
            disk: Arc::new(Mutex::new(disk)),
            outage: Outage::default(),
            isolation: Isolation::default(),
            started: now(),
            oldest_ms: 0,
        }
    }

    /// Runs forever. While Redis refuses events for another reason than their own, all of them wait.
    pub async fn run(mut self) {
        loop {
            // No caller awaits this task, so a panic that ended it would go unnoticed.
            if AssertUnwindSafe(self.step()).catch_unwind().await.is_err() {
                self.queue.failed();
                tracing::error!(stream = %self.directory.stream, "sending the outbox panicked; retrying");
                tokio::time::sleep(AFTER_PANIC).await;
            }
        }
    }

    async fn step(&mut self) {
        match self.queue.peek(self.max_batch(), MAX_BYTES) {
            Next::Nothing => {
                self.queue.metrics.oldest(Duration::ZERO);
                self.queue.added.notified().await;
            }
            Next::InMemory(records) => self.send(&records).await,
            Next::OnDisk(from, ends) => self.send_from_disk(from, ends).await,
        }
    }

    fn max_batch(&self) -> usize {
        self.ordered.max_batch().min(self.isolation.max_batch())
    }

    async fn send_from_disk(&mut self, from: Position, ends: BTreeMap<u64, u64>) {
        let max = self.max_batch();
        let failed = |(path, source)| Error::OutboxFile { operation: "read", path, source };
        let read = self.on_disk(move |disk| disk.backlog.read(from, &ends, max)).await;
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
        let Some((_, first)) = records.first() else { return };
        if self.isolation.was_refused_alone(*first)
            && let Err(error) = self.ordered.probe().await
        {
            return self.fail(&error).await;
        }
        let read = records.iter().filter_map(|(body, _)| record::read(body));
        let read: Vec<Record<'_>> = read.collect();
        self.oldest_ms = read.first().map_or(0, |record| record.made_ms);
        self.report_oldest();
        let fields: Vec<_> = read.into_iter().map(|record| record.fields).collect();
        match self.ordered.append(&fields).await {
            Ok(ids) => {
                self.isolation.accepted();
                // Without permission for transactions only the first record was sent.
                let sent = ids.len().saturating_sub(1).min(records.len() - 1);
                self.confirm(&ids, records[sent].1).await;
            }
            Err(error) => {
                let class = OrderedSender::class(&error);
                match self.isolation.refused(class, records.len(), *first) {
                    Step::Wait => self.fail(&error).await,
                    Step::SendFewer => self.queue.failed(),
                    Step::SetAside(tries) => self.set_aside(&records[0], tries, &error).await,
                }
            }
        }
    }

    /// Sets an event aside, and goes on with the next one once it is on disk there.
    async fn set_aside(&mut self, (body, end): &(Body, Position), tries: u32, refused: &Error) {
        let note = Note { at_ms: wall_clock_ms(), tries, cause: chain(refused) };
        let (body, end) = (body.clone(), *end);
        let event = record::read(&body).map(|record| (record.text("id"), record.text("type")));
        let (event_id, event_type) = event.unwrap_or_default();
        let (stream, bytes) = (self.directory.stream.clone(), body.len());
        let written = self.on_disk(move |disk| aside::write(&disk.directory, end, &note, &body));
        match written.await {
            Ok(size) => {
                tracing::error!(
                    %stream, event_id, event_type, bytes, tries, error = chain(refused),
                    "set an event of the outbox aside: Redis refuses it and answers other commands; send it again with EventBus::send_set_aside"
                );
                self.isolation.set_aside(OrderedSender::class(refused));
                // The next event gets its own short waits.
                self.outage.end();
                let done = self.queue.set_aside(end, size);
                self.mark(end, done).await;
            }
            Err(source) => {
                let path = self.directory.path().to_owned();
                self.fail(&Error::OutboxFile { operation: "set an event aside in", path, source })
                    .await;
            }
        }
    }

    /// Waits for the confirmations that the durability requires, without limit. While the events are in the stream they are
    /// not sent again, which would duplicate them.
    async fn confirm(&mut self, ids: &[EntryId], next: Position) {
        while let Err(error) = self.ordered.confirm(ids).await {
            self.fail(&error).await;
            if !matches!(error, Error::NotDurable { .. }) {
                return;
            }
        }
        let done = self.queue.sent(ids, next);
        let failures = self.outage.end();
        if failures > 0 {
            tracing::info!(stream = %self.directory.stream, failures, "sending the outbox recovered");
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
            && let Some(times) = self.outage.log("mark".to_owned(), now() - self.started)
        {
            let dir = self.directory.path().display();
            tracing::warn!(%dir, %error, times, "cannot record the sent position of the outbox: events are sent again after a restart");
        }
    }

    /// Records a failure, releases the callers that wait for their events, and waits for the next attempt.
    async fn fail(&mut self, error: &Error) {
        self.queue.failed();
        self.report_oldest();
        let (wait, times) = self.outage.fail(error.cause(), now() - self.started, random());
        // The failures that opened the breaker are logged already.
        let is_new = !matches!(error, Error::BreakerOpen { .. });
        if let Some(times) = times.filter(|_| is_new) {
            let (stream, waiting, error) =
                (&self.directory.stream, self.queue.unsent(), chain(error));
            tracing::warn!(%stream, %error, times, waiting, "cannot send the outbox; retrying");
        }
        tokio::time::sleep(wait).await;
    }

    fn report_oldest(&self) {
        let age = wall_clock_ms().saturating_sub(self.oldest_ms);
        self.queue.metrics.oldest(Duration::from_millis(age));
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Disk) -> T + Send + 'static,
    ) -> T {
        let disk = self.disk.clone();
        let work = move || work(&mut disk.lock().unwrap_or_else(PoisonError::into_inner));
        super::blocking(work).await
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that draws the jitter")]
fn random() -> f64 {
    rand::random()
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures the age of an event")]
fn wall_clock_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}
