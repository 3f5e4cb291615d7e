//! Group commit: what callers append while one write and sync is under way goes to disk with the next one, together.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::names::EntryId;

use super::queue::{Body, Kept, Queue};
use super::writer::{Refused, Writer};

/// Records in one write, and bytes beyond the first.
pub(super) const MOST_RECORDS: usize = 1_024;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// A record to write, and who is told.
pub(super) struct Appending {
    pub body: Body,
    pub kept: oneshot::Sender<Result<(), Refused>>,
    pub sent: oneshot::Sender<EntryId>,
}

/// Writes what comes, until nobody can append any more.
pub(super) async fn run(
    writer: Writer,
    queue: Arc<Queue>,
    mut incoming: mpsc::Receiver<Appending>,
) {
    let mut writer = Some(writer);
    while let Some(first) = incoming.recv().await {
        let batch = gather(first, &mut incoming);
        let (taken, queue) = (writer.take(), queue.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = taken?;
            commit(&mut writer, &queue, batch);
            Some(writer)
        });
        match written.await {
            Ok(Some(back)) => writer = Some(back),
            Ok(None) => return,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending.
                Err(_) => return,
            },
        }
    }
}

fn gather(first: Appending, incoming: &mut mpsc::Receiver<Appending>) -> Vec<Appending> {
    let (mut bytes, mut batch) = (first.body.len(), vec![first]);
    while batch.len() < MOST_RECORDS && bytes < MOST_BYTES {
        let Ok(next) = incoming.try_recv() else { break };
        bytes += next.body.len();
        batch.push(next);
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
