//! Keeping the stream's order: the oldest entry that is not done comes next, and nothing beside it.

use crate::names::EntryId;

use super::hand::Stage;
use super::machine::{Machine, Origin, TAKE_EVERY};
use super::{EntryRef, Moment, NextEntry, Output, Pool, Source};

impl Machine {
    /// Asks for the next entry once the one before is settled, and acknowledges a finished one with it.
    pub(super) fn next_in_order(&mut self, now: Moment, out: &mut Vec<Output>) {
        let busy = self.nexting || self.awaiting || self.taking.is_some();
        if self.stopping || busy || now < self.next_take {
            return;
        }
        let done = self.hand.only_finished();
        if done.is_none() && !(self.hand.is_empty() && self.acking == 0) {
            return;
        }
        match self.end {
            Some(after) if done.is_none() => self.at_the_end(after, now, out),
            _ => {
                if let Some(held) = done.and_then(|entry| self.hand.get_mut(entry)) {
                    held.stage = Stage::Finished { sent: true };
                    self.ack_since = None;
                }
                self.nexting = true;
                out.push(Output::Next { done: done.map(|entry| entry.id) });
            }
        }
    }

    /// Nothing is pending and nothing is new: replays have their turn, one at a time.
    fn at_the_end(&mut self, after: EntryId, now: Moment, out: &mut Vec<Output>) {
        let source = Source::DeadLetters;
        let pool = match self.suspects.first() {
            Some(_) => Some(Pool::Suspect),
            None => (self.replays > 0 && now >= self.next_replay).then_some(Pool::Parked),
        };
        if let Some(pool) = pool {
            // Whatever is published meanwhile comes before the replay after this one.
            self.end = None;
            self.taking = Some((source, pool, 1));
            out.push(Output::Take { source, pool, count: 1 });
        } else {
            self.awaiting = true;
            out.push(Output::Await { after });
        }
    }

    pub(super) fn next_is(
        &mut self,
        sent: Moment,
        next: Option<NextEntry>,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        self.nexting = false;
        match next {
            Some(NextEntry::Entry { pool, taken }) => {
                let origin = Origin { source: Source::Stream, pool, sent };
                self.take_up(origin, taken, now, out);
            }
            // Whoever has it may be done, or hand it back, long before its lease is over.
            Some(NextEntry::Wait(wait)) => self.next_take = now + wait.min(TAKE_EVERY),
            Some(NextEntry::Empty(last)) => self.end = Some(last),
            None => {}
        }
    }

    /// The entry that the command for the next one acknowledged, unless it was not `mine` any more.
    pub(super) fn done_before_next(&mut self, id: EntryId, mine: bool) {
        let entry = EntryRef { source: Source::Stream, id };
        self.counts.acknowledged += u64::from(self.hand.get_mut(entry).is_some());
        self.counts.unconfirmed += u64::from(!mine);
        self.hand.remove(entry);
    }
}
