//! Delivery in the stream's order: only the oldest unfinished entry is in flight.

use crate::names::EntryId;

use super::in_flight::Stage;
use super::machine::{Machine, Origin};
use super::mode::{CLAIM_EVERY, Mode, Ordered};
use super::outstanding::Claiming;
use super::{EntryRef, Moment, NextInOrder, Output, Pool, Source};

impl Machine {
    /// Asks for the next entry once the one before is settled, and acknowledges a finished one with it.
    pub(super) fn fetch_next(&mut self, mode: Ordered, now: Moment, out: &mut Vec<Output>) {
        let outstanding = &self.outstanding;
        let busy = outstanding.fetch_next || outstanding.wait || outstanding.claim.is_some();
        if self.stopping || busy || now < mode.next_fetch {
            return;
        }
        let done = self.in_flight.only_finished();
        if done.is_none() && !(self.in_flight.is_empty() && self.outstanding.acks == 0) {
            return;
        }
        match mode.end {
            Some(after) if done.is_none() => self.at_the_end(after, now, out),
            _ => {
                if let Some(entry) = done {
                    let stage = Stage::Finished { sent: true };
                    self.in_flight.update(entry, |state| state.stage = stage);
                    self.ack_since = None;
                }
                self.outstanding.fetch_next = true;
                out.push(Output::Next { done: done.map(|entry| entry.id) });
            }
        }
    }

    /// Nothing is pending and nothing is new: replays have their turn, one at a time.
    fn at_the_end(&mut self, after: EntryId, now: Moment, out: &mut Vec<Output>) {
        let replay_is_due = self.replays.count > 0 && now >= self.replays.next_claim;
        let pool = match self.suspects.first() {
            Some(_) => Some(Pool::Suspect),
            None => replay_is_due.then_some(Pool::Delayed),
        };
        if let Some(pool) = pool {
            // An event that is published meanwhile comes before the replay after this one.
            self.set_end(None);
            let (source, count) = (Source::DeadLetters, 1);
            self.outstanding.claim = Some(Claiming { source, pool, count });
            out.push(Output::Claim { source, pool, count });
        } else {
            self.outstanding.wait = true;
            out.push(Output::WaitForEntry { after });
        }
    }

    pub(super) fn on_next(
        &mut self,
        sent: Moment,
        next: Option<NextInOrder>,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        self.outstanding.fetch_next = false;
        match next {
            Some(NextInOrder::Entry { pool, claimed }) => {
                self.fetch.pace.answered(1, now - sent);
                let origin = Origin { source: Source::Stream, pool, sent };
                self.receive_claimed(origin, claimed, now, out);
            }
            Some(NextInOrder::Wait(wait)) => {
                if let Mode::Ordered(mode) = &mut self.mode {
                    // The consumer that has it may settle it, or give it back, long before its lease is over.
                    mode.next_fetch = now + wait.min(CLAIM_EVERY);
                }
            }
            Some(NextInOrder::Empty(last)) => self.set_end(Some(last)),
            None => {}
        }
    }

    /// Counts the entry that the command for the next one acknowledged, unless it was not `mine` any more.
    pub(super) fn on_acked_with_next(&mut self, id: EntryId, mine: bool) {
        let entry = EntryRef { source: Source::Stream, id };
        self.counts.acknowledged += u64::from(self.in_flight.remove(entry).is_some());
        self.counts.unconfirmed += u64::from(!mine);
    }

    pub(super) fn on_arrived(&mut self) {
        self.outstanding.wait = false;
        self.set_end(None);
    }

    fn set_end(&mut self, end: Option<EntryId>) {
        if let Mode::Ordered(mode) = &mut self.mode {
            mode.end = end;
        }
    }
}
