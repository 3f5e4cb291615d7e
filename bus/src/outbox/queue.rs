//! What is on disk and not sent yet: where it stands, and the newest of it in memory as long as it is little.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventbus_core::names::EntryId;
use tokio::sync::{Notify, oneshot};

use crate::metrics::OutboxMetrics;

use super::directory::Found;
use super::mark::Position;

/// More records than this, or more bytes, are read back from disk.
const MOST_RECORDS: usize = 1_024;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// The bytes of a record, shared by whoever writes and whoever sends them.
pub(super) type Body = Arc<[u8]>;

/// A record that is on disk now.
pub(super) struct Kept {
    pub body: Body,
    pub end: Position,
    /// Who waits for the record to be sent; dropped where that will take long.
    pub sent: oneshot::Sender<EntryId>,
}

/// What to send next.
#[derive(Debug)]
pub(super) enum Next {
    Nothing,
    InMemory(Vec<(Body, Position)>),
    /// To be read: what stands behind this place, up to these ends of segments.
    OnDisk(Position, BTreeMap<u64, u64>),
}

/// Shared by the task that writes and the one that sends.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something was added.
    pub added: Notify,
    /// All is sent.
    pub emptied: Notify,
    pub metrics: OutboxMetrics,
}

struct State {
    ends: BTreeMap<u64, u64>,
    next: Position,
    unsent: u64,
    /// The segment that is written to.
    open: Option<u64>,
    /// The last of the unsent ones.
    recent: VecDeque<Recent>,
    recent_bytes: usize,
    /// Whether the last try to send failed.
    failing: bool,
}

struct Recent {
    body: Body,
    end: Position,
    sent: Option<oneshot::Sender<EntryId>>,
}

impl Queue {
    /// Begins with what was found on disk.
    pub fn new(found: &Found, metrics: OutboxMetrics) -> Self {
        metrics.damaged(found.damaged.len() as u64);
        let state = State {
            ends: found.ends.clone(),
            next: found.next,
            unsent: found.records,
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
        queue.tell(&queue.locked());
        queue
    }

    /// Bytes of all segments.
    pub fn stored(&self) -> u64 {
        self.locked().ends.values().sum()
    }

    /// Records that are not sent yet.
    pub fn unsent(&self) -> u64 {
        self.locked().unsent
    }

    /// Whether the last try to send failed.
    pub fn is_failing(&self) -> bool {
        self.locked().failing
    }

    /// Notes records that are on disk now, in their order.
    pub fn add(&self, records: impl IntoIterator<Item = Kept>) {
        let mut state = self.locked();
        for record in records {
            state.add(record);
        }
        self.tell(&state);
        drop(state);
        self.added.notify_one();
    }

    /// What to send next: at most so many records and, beyond the first, so many bytes.
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

    /// Notes that the next records are sent, under these IDs, up to `next`; answers the segments that nobody needs any
    /// more.
    pub fn sent(&self, ids: &[EntryId], next: Position) -> Vec<u64> {
        let mut state = self.locked();
        (state.failing, state.next) = (false, next);
        let before_memory = state.unsent.saturating_sub(state.recent.len() as u64);
        let before_memory = usize::try_from(before_memory).unwrap_or(usize::MAX);
        state.unsent = state.unsent.saturating_sub(ids.len() as u64);
        for id in ids.iter().skip(before_memory) {
            let Some(recent) = state.forget_oldest() else { break };
            if let Some(sent) = recent.sent {
                // Who waits no longer needs no answer.
                sent.send(*id).ok();
            }
        }
        self.metrics.sent(ids.len() as u64);
        self.after(state)
    }

    /// Notes that no record can be read before `next`; answers as [`sent`](Self::sent).
    pub fn skipped(&self, next: Position) -> Vec<u64> {
        let mut state = self.locked();
        state.next = next;
        let last = state.ends.last_key_value();
        let is_at_end = last.is_none_or(|(segment, offset)| {
            next >= Position { segment: *segment, offset: *offset }
        });
        if is_at_end {
            // What was counted and cannot be read is not waited for.
            state.unsent = 0;
            while state.forget_oldest().is_some() {}
        }
        self.after(state)
    }

    /// Notes that no more is written behind `end`; answers as [`sent`](Self::sent). Nothing where records before it
    /// are not noted yet.
    pub fn closed(&self, end: Position) -> Vec<u64> {
        let mut state = self.locked();
        if state.ends.get(&end.segment) == Some(&end.offset) {
            state.open = None;
        }
        self.after(state)
    }

    /// Notes that sending failed: nobody waits for it any more.
    pub fn failed(&self) {
        let mut state = self.locked();
        state.failing = true;
        for recent in &mut state.recent {
            recent.sent = None;
        }
    }

    fn after(&self, mut state: MutexGuard<'_, State>) -> Vec<u64> {
        let done = state.forget_sent();
        self.tell(&state);
        if state.unsent == 0 {
            self.emptied.notify_waiters();
        }
        done
    }

    fn tell(&self, state: &State) {
        self.metrics.waiting(state.unsent, state.unsent_bytes());
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // No holder of the lock panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, record: Kept) {
        let Kept { body, end, sent } = record;
        self.ends.insert(end.segment, end.offset);
        self.open = Some(end.segment);
        // Where older ones are read back from disk first, it will take long.
        let is_next = !self.failing && self.is_all_in_memory();
        self.unsent += 1;
        self.recent_bytes += body.len();
        self.recent.push_back(Recent { body, end, sent: Some(sent).filter(|_| is_next) });
        while self.recent.len() > MOST_RECORDS
            || (self.recent.len() > 1 && self.recent_bytes > MOST_BYTES)
        {
            self.forget_oldest();
        }
    }

    fn is_all_in_memory(&self) -> bool {
        self.unsent == self.recent.len() as u64
    }

    /// Takes the oldest record out of memory.
    fn forget_oldest(&mut self) -> Option<Recent> {
        let oldest = self.recent.pop_front()?;
        self.recent_bytes -= oldest.body.len();
        Some(oldest)
    }

    /// The segments of which all is sent, but for the one that is written to.
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
