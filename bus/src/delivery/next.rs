//! Which commands the state calls for.

use super::hand::Stage;
use super::machine::{Alone, Link, Machine};
use super::{DAY, MAX_PARKED, Moment, Output, Parking, Pool};

/// Ids in one acknowledgement, and how long the first of them waits for the others.
const ACK_BATCH: usize = 64;
const ACK_WAIT: Moment = Moment::from_millis(5);

impl Machine {
    /// When [`Input::Tick`](super::Input::Tick) is due: the next beat, take, acknowledgement or end of a lease after
    /// `now`, the moment of the last input. What was due then waits for another input, not for time.
    #[must_use]
    pub fn wake_at(&self, now: Moment) -> Option<Moment> {
        let up = self.link == Link::Up;
        let beat = (up && self.beating.is_none()).then_some(self.next_beat);
        let take = (up && self.taking.is_none() && !self.stopping).then_some(self.next_take);
        let ack = self.ack_since.filter(|_| up).map(|since| since + ACK_WAIT);
        let due = [self.hand.first_lease_end(), beat, take, ack].into_iter().flatten();
        due.filter(|moment| *moment > now).min()
    }

    pub(super) fn proceed(&mut self, now: Moment, out: &mut Vec<Output>) {
        match self.link {
            Link::Down => self.stop_without_link(out),
            Link::Flushing => {
                self.acknowledge(now, out);
                if self.acking == 0 {
                    self.link = Link::Beating;
                    self.beat(now, out);
                }
            }
            Link::Beating => {}
            Link::Up => {
                self.hand_back();
                self.settle(out);
                if self.ack_due(now) {
                    self.acknowledge(now, out);
                }
                if now >= self.next_beat && self.beating.is_none() {
                    self.beat(now, out);
                }
                self.take(now, out);
                self.read_more(out);
                self.leave(out);
            }
        }
        if !self.stopping {
            self.start(out);
        }
    }

    fn ack_due(&self, now: Moment) -> bool {
        let finished = self.hand.finished();
        let open = finished + self.skipped.len();
        let only_this_is_left = finished == self.hand.len();
        let waited = self.ack_since.is_some_and(|since| now >= since + ACK_WAIT);
        open >= ACK_BATCH || only_this_is_left || waited || self.stopping
    }

    /// Within its lease an entry is ours; after it the server has to look.
    fn acknowledge(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.ack_since = None;
        let (mut leased, late) = self.hand.unacknowledged(now);
        for id in leased.iter().chain(&late) {
            if let Some(held) = self.hand.get_mut(*id) {
                held.stage = Stage::Finished { sent: true };
            }
        }
        leased.append(&mut self.skipped);
        for (ids, checked) in [(leased, false), (late, true)] {
            if !ids.is_empty() {
                self.acking += 1;
                out.push(Output::Ack { ids, checked });
            }
        }
    }

    fn beat(&mut self, now: Moment, out: &mut Vec<Output>) {
        let ids = self.hand.renewable();
        let look = now >= self.linked_at + self.config.lease && !self.stopping;
        self.beating = Some(ids.clone());
        out.push(Output::Beat { ids, look, counts: self.counts() });
    }

    /// Stopping: what no worker began is due for anybody at once, and its attempt does not count.
    fn hand_back(&mut self) {
        if !self.stopping {
            return;
        }
        self.hand.retain(|id, held| {
            if matches!(held.stage, Stage::Waiting(_)) {
                let parking = Parking { id, attempts: held.attempt - 1, delay: Moment::ZERO };
                held.stage = Stage::Parking { parking, sent: false };
                // Parked, a suspect would run beside others: it stays ours, and is one again when our lease is over.
                return held.pool != Some(Pool::Suspect);
            }
            true
        });
    }

    fn settle(&mut self, out: &mut Vec<Output>) {
        let mut parkings = Vec::new();
        for (_, held) in self.hand.iter_mut() {
            match &mut held.stage {
                Stage::Parking { parking, sent: sent @ false } => {
                    *sent = true;
                    parkings.push(Parking { delay: parking.delay.min(DAY), ..*parking });
                }
                Stage::Burying { burial, sent: sent @ false } => {
                    *sent = true;
                    out.push(Output::Bury(burial.clone()));
                }
                _ => {}
            }
        }
        if !parkings.is_empty() {
            out.push(Output::Park(parkings));
        }
    }

    fn free_workers(&self) -> usize {
        let reserved = self.taking.map_or(0, |(_, count)| count);
        self.config.concurrency.saturating_sub(self.hand.running() + reserved)
    }

    fn take(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.stopping || self.taking.is_some() {
            return;
        }
        let (pool, count) = if self.alone == Alone::Wanted {
            let alone = self.hand.is_empty() && self.reading.is_none();
            (Pool::Suspect, usize::from(alone))
        } else if now >= self.next_take {
            (Pool::Parked, self.room_for_retries())
        } else {
            return;
        };
        if count > 0 {
            self.taking = Some((pool, count));
            out.push(Output::Take { pool, count });
        }
    }

    /// Retries get every free worker, but at most half of all, at least one, while new entries wait.
    fn room_for_retries(&self) -> usize {
        let free = self.free_workers();
        if self.hand.waiting_new() == 0 {
            return free.saturating_sub(self.hand.waiting());
        }
        let half = (self.config.concurrency / 2).max(1);
        free.min(half.saturating_sub(self.hand.retrying()))
    }

    fn read_more(&mut self, out: &mut Vec<Output>) {
        let paused = self.stopping || self.alone != Alone::No || self.parked >= MAX_PARKED;
        if paused || self.reading.is_some() {
            return;
        }
        let most = self.config.concurrency + self.config.batch_size;
        let taking = self.taking.map_or(0, |(_, count)| count);
        let room = most.saturating_sub(self.hand.len() + taking).min(self.config.batch_size);
        // Half a batch at least: a read for every freed place would cost the server a command an event.
        if room * 2 >= self.config.batch_size || (room > 0 && self.hand.waiting() == 0) {
            self.reading = Some(room);
            out.push(Output::Read { count: room });
        }
    }

    fn start(&mut self, out: &mut Vec<Output>) {
        for id in self.hand.next_waiting(self.free_workers()) {
            let Some(held) = self.hand.get_mut(id) else {
                continue;
            };
            let running = Stage::Running { forgotten: false };
            if let Stage::Waiting(delivery) = std::mem::replace(&mut held.stage, running) {
                out.push(Output::Start(delivery));
            }
        }
    }

    /// The name goes last, when nothing is in hand and nothing outstanding.
    fn leave(&mut self, out: &mut Vec<Output>) {
        let outstanding = self.reading.is_some()
            || self.taking.is_some()
            || self.acking > 0
            || self.beating.is_some()
            || self.leaving;
        if self.stopping && self.hand.is_empty() && self.skipped.is_empty() && !outstanding {
            self.leaving = true;
            out.push(Output::Leave(self.counts()));
        }
    }

    /// With nothing in hand there is nothing to wait for: a name that stays behind holds no entry.
    fn stop_without_link(&self, out: &mut Vec<Output>) {
        if self.stopping && self.hand.is_empty() && !self.unsettled {
            out.push(Output::Stopped);
        }
    }
}
