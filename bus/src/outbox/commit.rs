//! Group commit: what callers append while one write and sync is under way goes to disk with the next one, together.

use std::time::{Duration, Instant};

use eventbus_core::names::EntryId;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot};

use super::queue::{Body, Kept, Queue};
use super::writer::{Refused, Writer};

/// Records in one write, and bytes beyond the first.
pub(super) const MOST_RECORDS: usize = 1_024;
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Nobody is waited for any longer.
const MOST_PATIENCE: Duration = Duration::from_millis(1);
const NAP: Duration = Duration::from_micros(20);

/// A record to write, and who is told.
pub(super) struct Appending {
    pub body: Body,
    pub kept: oneshot::Sender<Result<(), Refused>>,
    pub sent: oneshot::Sender<EntryId>,
}

/// Writes what comes, until nobody can append any more, on a thread of its own.
pub(super) fn run(mut writer: Writer, queue: &Queue, mut incoming: mpsc::Receiver<Appending>) {
    let (mut before, mut patience) = (1, Duration::ZERO);
    while let Some(first) = incoming.blocking_recv() {
        let batch = gather(first, &mut incoming, before, now() + patience);
        before = batch.len();
        let began = now();
        commit(&mut writer, queue, batch);
        patience = ((now() - began) / 2).min(MOST_PATIENCE);
    }
}

/// What is there by now. The callers of the batch `before` are on their way with their next records: it waits for as
/// many, but half as long as a write takes, or each sync would be for the first of them alone, and then for the rest.
fn gather(
    first: Appending,
    incoming: &mut mpsc::Receiver<Appending>,
    before: usize,
    until: Instant,
) -> Vec<Appending> {
    let (mut bytes, mut batch) = (first.body.len(), vec![first]);
    while batch.len() < MOST_RECORDS && bytes < MOST_BYTES {
        match incoming.try_recv() {
            Ok(next) => {
                bytes += next.body.len();
                batch.push(next);
            }
            Err(TryRecvError::Empty) if batch.len() < before && now() < until => {
                std::thread::sleep(NAP);
            }
            Err(_) => break,
        }
    }
    batch
}

/// Writes a batch; tells its callers once the sender knows of it, so that nobody finds it before it.
pub(super) fn commit(writer: &mut Writer, queue: &Queue, batch: Vec<Appending>) {
    let bodies: Vec<Body> = batch.iter().map(|appending| appending.body.clone()).collect();
    let results = writer.append(&bodies);
    let (mut records, mut answers) = (Vec::new(), Vec::new());
    for (Appending { body, kept, sent }, result) in batch.into_iter().zip(results) {
        let answer = result.map(|end| records.push(Kept { body, end, sent }));
        answers.push((kept, answer));
    }
    queue.add(records);
    for (kept, answer) in answers {
        // A caller that gave up needs no answer; its record is sent all the same.
        kept.send(answer).ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures how long the disk takes")]
fn now() -> Instant {
    Instant::now()
}
