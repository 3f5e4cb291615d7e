//! Group commit: records that callers append during one write and sync are written together with the next.

use std::time::{Duration, Instant};

use eventbus_core::names::EntryId;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::queue::{Body, Queue, Stored};
use super::writer::{Refused, Writer};

/// Maximum number of records in a write.
pub(super) const MAX_RECORDS: usize = 1_024;
/// Maximum size of a write in bytes, beyond its first record.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Maximum wait for more records.
const MAX_WAIT: Duration = Duration::from_millis(1);
const POLL_EVERY: Duration = Duration::from_micros(20);

/// Record to write, with the channels that answer its caller.
pub(super) struct Appending {
    pub body: Body,
    pub stored: oneshot::Sender<Result<(), Refused>>,
    pub sent: oneshot::Sender<EntryId>,
}

/// Writes incoming records on the calling thread, until the channel is closed.
pub(super) fn run(mut writer: Writer, queue: &Queue, mut incoming: mpsc::Receiver<Appending>) {
    let (mut previous, mut wait) = (1, Duration::ZERO);
    while let Some(first) = incoming.blocking_recv() {
        let batch = gather(first, &mut incoming, previous, now() + wait);
        previous = batch.len();
        let began = now();
        commit(&mut writer, queue, batch);
        wait = ((now() - began) / 2).min(MAX_WAIT);
    }
}

/// Collects a batch. Callers of the previous batch, of `previous` records, usually submit again at once: waits until as
/// many records have arrived, at most half of the last write's duration. Otherwise syncs would alternate between one
/// record and all others.
fn gather(
    first: Appending,
    incoming: &mut mpsc::Receiver<Appending>,
    previous: usize,
    until: Instant,
) -> Vec<Appending> {
    let (mut bytes, mut batch) = (first.body.len(), vec![first]);
    while batch.len() < MAX_RECORDS && bytes < MAX_BYTES {
        match incoming.try_recv() {
            Ok(next) => {
                bytes += next.body.len();
                batch.push(next);
            }
            Err(TryRecvError::Empty) if batch.len() < previous && now() < until => {
                std::thread::sleep(POLL_EVERY);
            }
            Err(_) => break,
        }
    }
    batch
}

/// Writes a batch, adds it to the queue, and then answers its callers.
pub(super) fn commit(writer: &mut Writer, queue: &Queue, batch: Vec<Appending>) {
    let bodies: Vec<Body> = batch.iter().map(|appending| appending.body.clone()).collect();
    let results = writer.append(&bodies);
    let (mut records, mut answers) = (Vec::new(), Vec::new());
    for (Appending { body, stored, sent }, result) in batch.into_iter().zip(results) {
        let answer = result.map(|end| records.push(Stored { body, end, sent }));
        answers.push((stored, answer));
    }
    queue.add(records);
    for (stored, answer) in answers {
        // The caller may have timed out; its record is sent all the same.
        stored.send(answer).ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures how long the disk takes")]
fn now() -> Instant {
    Instant::now()
}
