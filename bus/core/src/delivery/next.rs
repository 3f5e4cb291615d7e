//! Which commands the state calls for.

use std::collections::BTreeMap;

use super::hand::Stage;
use super::machine::{Link, Machine};
use super::{DAY, EntryRef, MAX_PARKED, Moment, Output, Parking, Pool, Source};

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
        let may_take = up && self.taking.is_none() && !self.stopping;
        let take = may_take.then_some(self.next_take);
        let replay = (may_take && self.replays > 0).then_some(self.next_replay);
        let ack = self.ack_since.filter(|_| up).map(|since| since + ACK_WAIT);
        let due = [self.hand.first_lease_end(), beat, take, replay, ack].into_iter().flatten();
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
                if self.ack_due(now) && !self.acknowledges_with_next() {
                    self.acknowledge(now, out);
                }
                if now >= self.next_beat && self.beating.is_none() {
                    self.beat(now, out);
                }
                if self.is_ordered() {
                    self.next_in_order(now, out);
                } else {
                    self.take(now, out);
                    self.read_more(out);
                }
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

    /// In order, the command for the next entry acknowledges the one before.
    fn acknowledges_with_next(&self) -> bool {
        let only = self.hand.only_finished().is_some() && self.skipped.is_empty();
        self.is_ordered() && !self.stopping && only
    }

    /// Within its lease an entry is ours; after it the server has to look, and with replays it always does.
    fn acknowledge(&mut self, now: Moment, out: &mut Vec<Output>) {
        self.ack_since = None;
        let of_stream = |entry: EntryRef| entry.source == Source::Stream;
        let (mut leased, mut late) = (Vec::new(), Vec::new());
        for (entry, leased_until) in self.skipped.drain(..) {
            if leased_until > now { leased.push(entry) } else { late.push(entry) }
        }
        leased.extend(
            self.hand.unacknowledged(|entry, held| of_stream(entry) && held.leased_until > now),
        );
        late.extend(
            self.hand.unacknowledged(|entry, held| of_stream(entry) && held.leased_until <= now),
        );
        let replays = self.hand.unacknowledged(|entry, _| !of_stream(entry));
        for (entries, checked) in [(leased, false), (late, true), (replays, true)] {
            for entry in &entries {
                if let Some(held) = self.hand.get_mut(*entry) {
                    held.stage = Stage::Finished { sent: true };
                }
            }
            if !entries.is_empty() {
                self.acking += 1;
                out.push(Output::Ack { entries, checked });
            }
        }
    }

    fn beat(&mut self, now: Moment, out: &mut Vec<Output>) {
        let entries = self.hand.renewable();
        let may_look = now >= self.linked_at + self.config.lease && !self.stopping;
        let look = match (may_look, self.is_ordered()) {
            (false, _) => vec![],
            (true, false) => vec![Source::Stream, Source::DeadLetters],
            (true, true) => vec![Source::DeadLetters],
        };
        self.beating = Some(entries.clone());
        out.push(Output::Beat { entries, look, counts: self.counts() });
    }

    /// Stopping: what no worker began is due for anybody at once, and its attempt does not count.
    fn hand_back(&mut self) {
        if !self.stopping {
            return;
        }
        for (entry, held) in self.hand.iter_mut() {
            if matches!(held.stage, Stage::Waiting(_)) {
                // Parked, a suspect would run beside others.
                let is_suspect = held.pool == Some(Pool::Suspect);
                let pool = if is_suspect { Pool::Suspect } else { Pool::Parked };
                let (id, attempts, delay) = (entry.id, held.attempt - 1, Moment::ZERO);
                let parking = Parking { id, attempts, delay, pool };
                held.stage = Stage::Parking { parking, sent: false };
            }
        }
    }

    fn settle(&mut self, out: &mut Vec<Output>) {
        let mut parkings: BTreeMap<_, Vec<Parking>> = BTreeMap::new();
        for (entry, held) in self.hand.iter_mut() {
            match &mut held.stage {
                Stage::Parking { parking, sent: sent @ false } => {
                    *sent = true;
                    let parking = Parking { delay: parking.delay.min(DAY), ..*parking };
                    let is_suspect = parking.pool == Pool::Suspect;
                    parkings.entry((entry.source, is_suspect)).or_default().push(parking);
                }
                Stage::Burying { burial, sent: sent @ false } => {
                    *sent = true;
                    out.push(Output::Bury(burial.clone()));
                }
                _ => {}
            }
        }
        let parkings = parkings.into_iter();
        out.extend(parkings.map(|((source, _), parkings)| Output::Park(source, parkings)));
    }

    fn free_workers(&self) -> usize {
        let reserved = self.taking.map_or(0, |(_, _, count)| count);
        self.config.concurrency.saturating_sub(self.hand.running() + reserved)
    }

    fn take(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.stopping || self.taking.is_some() {
            return;
        }
        let (source, pool, count) = match (self.suspects.first(), self.due_parked(now)) {
            (Some(source), _) => {
                let alone = self.hand.is_empty() && !self.reading;
                (*source, Pool::Suspect, usize::from(alone))
            }
            (None, Some(source)) => (source, Pool::Parked, self.room_for_retries()),
            (None, None) => return,
        };
        if count > 0 {
            self.taking = Some((source, pool, count));
            out.push(Output::Take { source, pool, count });
        }
    }

    /// Where parked entries are to be looked for now; by turns where both places are due.
    fn due_parked(&self, now: Moment) -> Option<Source> {
        let replays = self.replays > 0 && now >= self.next_replay;
        match (now >= self.next_take, replays) {
            (true, false) => Some(Source::Stream),
            (false, true) => Some(Source::DeadLetters),
            (true, true) if self.took == Source::Stream => Some(Source::DeadLetters),
            (true, true) => Some(Source::Stream),
            (false, false) => None,
        }
    }

    /// Retries get every free worker, but at most half of all, at least one, while new entries wait.
    fn room_for_retries(&self) -> usize {
        let waiting_new = self.hand.waiting_new();
        // Those just taken are begun after this.
        let waiting_retries = self.hand.waiting() - waiting_new;
        let free = self.free_workers().saturating_sub(waiting_retries);
        if waiting_new == 0 {
            return free;
        }
        let half = (self.config.concurrency / 2).max(1);
        free.min(half.saturating_sub(self.hand.retrying()))
    }

    fn read_more(&mut self, out: &mut Vec<Output>) {
        let paused = self.stopping || !self.suspects.is_empty() || self.parked >= MAX_PARKED;
        if paused || self.reading {
            return;
        }
        let most = self.config.concurrency + self.config.batch_size;
        let taking = self.taking.map_or(0, |(_, _, count)| count);
        let room = most.saturating_sub(self.hand.len() + taking).min(self.config.batch_size);
        // Half a batch at least: a read for every freed place would cost the server a command an event.
        if room * 2 >= self.config.batch_size || (room > 0 && self.hand.waiting() == 0) {
            self.reading = true;
            out.push(Output::Read { count: room });
        }
    }

    fn start(&mut self, out: &mut Vec<Output>) {
        for entry in self.hand.next_waiting(self.free_workers()) {
            let Some(held) = self.hand.get_mut(entry) else {
                continue;
            };
            let running = Stage::Running { forgotten: false };
            if let Stage::Waiting(delivery) = std::mem::replace(&mut held.stage, running) {
                out.push(Output::Start(entry, delivery));
            }
        }
    }

    /// The name goes last, when nothing is in hand and nothing outstanding.
    fn leave(&mut self, out: &mut Vec<Output>) {
        let outstanding = self.reading
            || self.nexting
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
        if self.stopping && self.hand.is_empty() && !self.unsettled && !self.reading {
            out.push(Output::Stopped);
        }
    }
}
