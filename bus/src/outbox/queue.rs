//! Queue of unsent records: their positions on disk, and the newest ones in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventbus_core::names::EntryId;
use tokio::sync::{Notify, oneshot};

use crate::metrics::OutboxMetrics;

use super::aside::FoundAside;
use super::directory::Found;
use super::mark::Position;

/// Maximum number of records in memory; others are read back from disk.
const MAX_RECORDS: usize = 1_024;
/// Maximum size of the records in memory, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of a record, shared by the thread that writes and the task that sends.
pub(super) type Body = Arc<[u8]>;

/// Record that is on disk.
pub(super) struct Stored {
    pub body: Body,
    pub end: Position,
    /// Answers the caller that waits for the record to be sent; dropped if that will take long.
    pub sent: oneshot::Sender<EntryId>,
}

/// Records to send next.
#[derive(Debug)]
pub(super) enum Next {
    Nothing,
    InMemory(Vec<(Body, Position)>),
    /// Records to be read from disk: those after this position, up to these ends of segments.
    OnDisk(Position, BTreeMap<u64, u64>),
}

/// Queue of unsent records, shared by the thread that writes and the task that sends.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified when records are added.
    pub added: Notify,
    /// Notified when all records are sent.
    pub emptied: Notify,
    pub metrics: OutboxMetrics,
}

struct State {
    ends: BTreeMap<u64, u64>,
    next: Position,
    unsent: u64,
    /// Size of the events that were set aside, in bytes.
    aside: u64,
    /// Number of the segment that is being written.
    open: Option<u64>,
    /// The newest unsent records.
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    /// `true` if the last attempt to send failed.
    failing: bool,
}

struct Recent {
    body: Body,
    end: Position,
    sent: Option<oneshot::Sender<EntryId>>,
}

impl Queue {
    /// Creates a queue with the records found on disk.
    pub fn new(found: &Found, aside: &FoundAside, metrics: OutboxMetrics) -> Self {
        metrics.damaged(found.damaged.len() as u64 + aside.damaged);
        let state = State {
            ends: found.ends.clone(),
            next: found.next,
            unsent: found.records,
            aside: aside.bytes,
            open: None,
            recent: VecDeque::new(),
            recent_bytes: 0,
            failing: false,
        };
        let queue = Self {
            state: Mutex::new(state),
            added: Notify::new(),
            emptied: Notify::new(),
            metrics,
        };
        queue.report(&queue.locked());
        queue
    }

    /// Returns the size of all segments and of what was set aside, in bytes.
    pub fn stored(&self) -> u64 {
        let state = self.locked();
        state.ends.values().sum::<u64>() + state.aside
    }

    /// Returns the number of unsent records.
    pub fn unsent(&self) -> u64 {
        self.locked().unsent
    }

    /// Returns `true` if the last attempt to send failed.
    pub fn is_failing(&self) -> bool {
        self.locked().failing
    }

    /// Adds records that are on disk now, in their order.
    pub fn add(&self, records: impl IntoIterator<Item = Stored>) {
        let mut state = self.locked();
        for record in records {
            state.add(record);
        }
        self.report(&state);
        drop(state);
        self.added.notify_one();
    }

    /// Returns the next records to send: at most `records`, and at most `bytes` beyond the first.
    pub fn peek(&self, records: usize, bytes: usize) -> Next {
        let state = self.locked();
        if state.unsent == 0 {
            return Next::Nothing;
        }
        if !state.is_all_in_memory() {
            return Next::OnDisk(state.next, state.ends.clone());
        }
        let mut room = bytes;
        let fits = |recent: &&Recent| {
            let fits = room == bytes || recent.body.len() <= room;
            room = room.saturating_sub(recent.body.len().max(1));
            fits
        };
        let batch = state.recent.iter().take(records).take_while(fits);
        Next::InMemory(batch.map(|recent| (recent.body.clone(), recent.end)).collect())
    }

    /// Records that the next records, up to `next`, are sent as entries with these IDs. Returns the segments that are no
    /// longer needed.
    pub fn sent(&self, ids: &[EntryId], next: Position) -> Vec<u64> {
        let mut state = self.locked();
        (state.failing, state.next) = (false, next);
        let before_memory = state.unsent.saturating_sub(state.recent.len() as u64);
        let before_memory = usize::try_from(before_memory).unwrap_or(usize::MAX);
        state.unsent = state.unsent.saturating_sub(ids.len() as u64);
        for id in ids.iter().skip(before_memory) {
            let Some(recent) = state.forget_oldest() else { break };
            if let Some(sent) = recent.sent {
                // The caller may have timed out.
                sent.send(*id).ok();
            }
        }
        self.metrics.sent(ids.len() as u64);
        self.after(state)
    }

    /// Records that the next record, which ends at `next`, was set aside in a file of so many bytes. Returns the segments
    /// that are no longer needed.
    pub fn set_aside(&self, next: Position, bytes: u64) -> Vec<u64> {
        let mut state = self.locked();
        (state.failing, state.next) = (false, next);
        state.aside += bytes;
        if state.is_all_in_memory() {
            state.forget_oldest();
        }
        state.unsent = state.unsent.saturating_sub(1);
        self.metrics.set_aside();
        self.after(state)
    }

    /// Records that a file with an event that was set aside, of so many bytes, was removed.
    pub fn sent_again(&self, bytes: u64) {
        let mut state = self.locked();
        state.aside = state.aside.saturating_sub(bytes);
    }

    /// Records that no record before `next` can be read. Returns the segments that are no longer needed.
    pub fn skipped(&self, next: Position) -> Vec<u64> {
        let mut state = self.locked();
        state.next = next;
        let last = state.ends.last_key_value();
        let is_at_end = last.is_none_or(|(segment, offset)| {
            next >= Position { segment: *segment, offset: *offset }
        });
        if is_at_end {
            // Records that were counted but cannot be read will never be sent.
            state.unsent = 0;
            while state.forget_oldest().is_some() {}
        }
        self.after(state)
    }

    /// Records that the segment that ends at `end` is complete. Returns the segments that are no longer needed; none while
    /// records before `end` are not in the queue yet.
    pub fn closed(&self, end: Position) -> Vec<u64> {
        let mut state = self.locked();
        if state.ends.get(&end.segment) == Some(&end.offset) {
            state.open = None;
        }
        self.after(state)
    }

    /// Records that sending failed, and releases the callers that wait.
    pub fn failed(&self) {
        let mut state = self.locked();
        state.failing = true;
        for recent in &mut state.recent {
            recent.sent = None;
        }
    }

    fn after(&self, mut state: MutexGuard<'_, State>) -> Vec<u64> {
        let done = state.forget_sent();
        self.report(&state);
        if state.unsent == 0 {
            self.emptied.notify_waiters();
        }
        done
    }

    fn report(&self, state: &State) {
        self.metrics.waiting(state.unsent, state.unsent_bytes());
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // No holder of the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, record: Stored) {
        let Stored { body, end, sent } = record;
        self.ends.insert(end.segment, end.offset);
        self.open = Some(end.segment);
        // Sending takes long if older records have to be read back from disk first.
        let is_next = !self.failing && self.is_all_in_memory();
        self.unsent += 1;
        self.recent_bytes += body.len();
        self.recent.push_back(Recent { body, end, sent: Some(sent).filter(|_| is_next) });
        while self.recent.len() > MAX_RECORDS
            || (self.recent.len() > 1 && self.recent_bytes > MAX_BYTES)
        {
            self.forget_oldest();
        }
    }

    fn is_all_in_memory(&self) -> bool {
        self.unsent == self.recent.len() as u64
    }

    /// Removes the oldest record from memory.
    fn forget_oldest(&mut self) -> Option<Recent> {
        let oldest = self.recent.pop_front()?;
        self.recent_bytes -= oldest.body.len();
        Some(oldest)
    }

    /// Removes and returns the segments whose records are all sent, except the one that is being written.
    fn forget_sent(&mut self) -> Vec<u64> {
        let next = self.next;
        let is_sent = |segment: u64, end: u64| {
            segment < next.segment || (segment == next.segment && end <= next.offset)
        };
        let sent = self.ends.iter().filter(|(segment, end)| is_sent(**segment, **end));
        let done: Vec<u64> = sent
            .map(|(segment, _)| *segment)
            .filter(|segment| Some(*segment) != self.open)
            .collect();
        self.ends.retain(|segment, _| !done.contains(segment));
        done
    }

    fn unsent_bytes(&self) -> u64 {
        let bytes = |(segment, end): (&u64, &u64)| match segment.cmp(&self.next.segment) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => end.saturating_sub(self.next.offset),
            std::cmp::Ordering::Greater => *end,
        };
        self.ends.iter().map(bytes).sum()
    }
}

#[cfg(test)]
mod tests;
