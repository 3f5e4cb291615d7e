//! Keeping the stream's order: the oldest entry that is not done comes next, and nothing beside it.

use crate::names::EntryId;

use super::in_flight::Stage;
use super::machine::{CLAIM_EVERY, Machine, Origin};
use super::{EntryRef, Moment, NextInOrder, Output, Pool, Source};

impl Machine {
    /// Asks for the next entry once the one before is settled, and acknowledges a finished one with it.
    pub(super) fn next_in_order(&mut self, now: Moment, out: &mut Vec<Output>) {
        let busy = self.fetching_next || self.waiting_for_entry || self.claiming.is_some();
        if self.stopping || busy || now < self.next_claim {
            return;
        }
        let done = self.in_flight.only_finished();
        if done.is_none() && !(self.in_flight.is_empty() && self.acking == 0) {
            return;
        }
        match self.end {
            Some(after) if done.is_none() => self.at_the_end(after, now, out),
            _ => {
                if let Some(state) = done.and_then(|entry| self.in_flight.get_mut(entry)) {
                    state.stage = Stage::Finished { sent: true };
                    self.ack_since = None;
                }
                self.fetching_next = true;
                out.push(Output::Next { done: done.map(|entry| entry.id) });
            }
        }
    }

    /// Nothing is pending and nothing is new: replays have their turn, one at a time.
    fn at_the_end(&mut self, after: EntryId, now: Moment, out: &mut Vec<Output>) {
        let source = Source::DeadLetters;
        let pool = match self.suspects.first() {
            Some(_) => Some(Pool::Suspect),
            None => (self.replays > 0 && now >= self.next_replay).then_some(Pool::Delayed),
        };
        if let Some(pool) = pool {
            // Whatever is published meanwhile comes before the replay after this one.
            self.end = None;
            self.claiming = Some((source, pool, 1));
            out.push(Output::Claim { source, pool, count: 1 });
        } else {
            self.waiting_for_entry = true;
            out.push(Output::WaitForEntry { after });
        }
    }

    pub(super) fn next_is(
        &mut self,
        sent: Moment,
        next: Option<NextInOrder>,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        self.fetching_next = false;
        match next {
            Some(NextInOrder::Entry { pool, claimed }) => {
                let origin = Origin { source: Source::Stream, pool, sent };
                self.receive_claimed(origin, claimed, now, out);
            }
            // Whoever has it may be done, or hand it back, long before its lease is over.
            Some(NextInOrder::Wait(wait)) => self.next_claim = now + wait.min(CLAIM_EVERY),
            Some(NextInOrder::Empty(last)) => self.end = Some(last),
            None => {}
        }
    }

    /// The entry that the command for the next one acknowledged, unless it was not `mine` any more.
    pub(super) fn done_before_next(&mut self, id: EntryId, mine: bool) {
        let entry = EntryRef { source: Source::Stream, id };
        self.counts.acknowledged += u64::from(self.in_flight.get_mut(entry).is_some());
        self.counts.unconfirmed += u64::from(!mine);
        self.in_flight.remove(entry);
    }
}
