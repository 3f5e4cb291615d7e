//! Delivery without an order: many entries at once, new ones and retries side by side.

use super::machine::Machine;
use super::mode::Unordered;
use super::outstanding::Claiming;
use super::{MAX_DELAYED, Moment, Output, Pool};

impl Machine {
    /// Claims suspects, or delayed entries that are due, as far as workers are free.
    pub(super) fn claim(&mut self, mode: Unordered, now: Moment, out: &mut Vec<Output>) {
        if self.stopping || self.outstanding.claim.is_some() || self.in_flight.is_releasing() {
            return;
        }
        let (source, pool, count) = match (self.suspects.first(), mode.due(now, self.replays)) {
            (Some(source), _) => {
                let alone = self.in_flight.is_empty() && self.outstanding.read.is_none();
                (*source, Pool::Suspect, usize::from(alone))
            }
            (None, Some(source)) => {
                (source, Pool::Delayed, self.room_for_retries().min(self.claimable()))
            }
            (None, None) => return,
        };
        if count > 0 {
            self.outstanding.claim = Some(Claiming { source, pool, count });
            out.push(Output::Claim { source, pool, count });
        }
    }

    /// Returns the number of retries to claim: every free worker, but at most half of all, at least one, while new
    /// entries wait.
    fn room_for_retries(&self) -> usize {
        let waiting_new = self.in_flight.waiting_new();
        // Those that were just claimed are begun after this.
        let waiting_retries = self.in_flight.waiting() - waiting_new;
        let free = self.free_workers().saturating_sub(waiting_retries);
        if waiting_new == 0 {
            return free;
        }
        let half = (self.config.concurrency / 2).max(1);
        free.min(half.saturating_sub(self.in_flight.retrying()))
    }

    /// Reads new entries as far as there is room for them.
    pub(super) fn read_more(&mut self, mode: Unordered, out: &mut Vec<Output>) {
        let paused = self.stopping || !self.suspects.is_empty() || mode.delayed >= MAX_DELAYED;
        if paused || self.outstanding.read.is_some() {
            return;
        }
        let max = self.config.concurrency + self.config.batch_size;
        let batch = self.config.batch_size.min(self.fetch.pace.batch());
        let claimed = self.in_flight.len() + self.outstanding.claimable();
        let room = max.saturating_sub(claimed).min(batch).min(self.readable(mode));
        // Half a batch at least: a read for every freed place would cost the server a command for each event.
        if room * 2 >= batch || (room > 0 && self.in_flight.waiting() == 0) {
            self.outstanding.read = Some(room);
            out.push(Output::Read { count: room });
        }
    }

    /// Returns the maximum number of entries to read now. While others wait to be claimed, one of them still fits.
    fn readable(&self, mode: Unordered) -> usize {
        let (bytes, claimed) = (self.in_flight.bytes(), self.outstanding.claimable());
        let fitting = self.fetch.fitting(self.config.max_bytes, bytes, claimed);
        let is_shared = self.replays.count > 0 || mode.delayed > 0;
        let fitting = if is_shared && fitting > 1 { fitting - 1 } else { fitting };
        fitting.min(self.fetch.pace.batch())
    }

    /// Returns the maximum number of entries to claim now, at least 1 if none is in flight.
    fn claimable(&self) -> usize {
        let (bytes, read) = (self.in_flight.bytes(), self.outstanding.read.unwrap_or(0));
        let fitting = self.fetch.fitting(self.config.max_bytes, bytes, read);
        let fitting = if bytes == 0 { fitting.max(1) } else { fitting };
        fitting.min(self.fetch.pace.batch())
    }
}
