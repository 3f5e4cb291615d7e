//! Which commands the state calls for.

use std::collections::BTreeMap;

use super::in_flight::Stage;
use super::machine::{ConnectionState, Machine};
use super::{DAY, DelayRequest, EntryRef, MAX_DELAYED, Moment, Output, Pool, Source};

/// Ids in one acknowledgement, and how long the first of them waits for the others.
const ACK_BATCH: usize = 64;
const ACK_WAIT: Moment = Moment::from_millis(5);

impl Machine {
    /// When [`Input::Tick`](super::Input::Tick) is due: the next heartbeat, take, acknowledgement or end of a lease after
    /// `now`, the moment of the last input. What was due then waits for another input, not for time.
    #[must_use]
    pub fn wake_at(&self, now: Moment) -> Option<Moment> {
        let up = self.connection == ConnectionState::Up;
        let heartbeat = (up && self.heartbeat_sent.is_none()).then_some(self.next_heartbeat);
        let may_claim = up && self.claiming.is_none() && !self.stopping;
        let take = may_claim.then_some(self.next_claim);
        let replay = (may_claim && self.replays > 0).then_some(self.next_replay);
        let ack = self.ack_since.filter(|_| up).map(|since| since + ACK_WAIT);
        let due =
            [self.in_flight.first_lease_end(), heartbeat, take, replay, ack].into_iter().flatten();
        due.filter(|moment| *moment > now).min()
    }

    pub(super) fn proceed(&mut self, now: Moment, out: &mut Vec<Output>) {
        match self.connection {
            ConnectionState::Down => self.stop_without_connection(out),
            ConnectionState::Flushing => {
                self.acknowledge(now, out);
                if self.acking == 0 {
                    self.connection = ConnectionState::Heartbeating;
                    self.heartbeat(now, out);
                }
            }
            ConnectionState::Heartbeating => {}
            ConnectionState::Up => {
                self.hand_back();
                self.settle(out);
                if self.ack_due(now) && !self.acknowledges_with_next() {
                    self.acknowledge(now, out);
                }
                if now >= self.next_heartbeat && self.heartbeat_sent.is_none() {
                    self.heartbeat(now, out);
                }
                if self.is_ordered() {
                    self.next_in_order(now, out);
                } else {
                    self.claim(now, out);
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
        let finished = self.in_flight.finished();
        let open = finished + self.skipped.len();
        let only_this_is_left = finished == self.in_flight.len();
        let waited = self.ack_since.is_some_and(|since| now >= since + ACK_WAIT);
        open >= ACK_BATCH || only_this_is_left || waited || self.stopping
    }

    /// In order, the command for the next entry acknowledges the one before.
    fn acknowledges_with_next(&self) -> bool {
        let only = self.in_flight.only_finished().is_some() && self.skipped.is_empty();
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
            self.in_flight
                .unacknowledged(|entry, state| of_stream(entry) && state.leased_until > now),
        );
        late.extend(
            self.in_flight
                .unacknowledged(|entry, state| of_stream(entry) && state.leased_until <= now),
        );
        let replays = self.in_flight.unacknowledged(|entry, _| !of_stream(entry));
        for (entries, checked) in [(leased, false), (late, true), (replays, true)] {
            for entry in &entries {
                if let Some(state) = self.in_flight.get_mut(*entry) {
                    state.stage = Stage::Finished { sent: true };
                }
            }
            if !entries.is_empty() {
                self.acking += 1;
                out.push(Output::Ack { entries, checked });
            }
        }
    }

    fn heartbeat(&mut self, now: Moment, out: &mut Vec<Output>) {
        let entries = self.in_flight.renewable();
        let may_look = now >= self.connected_at + self.config.lease && !self.stopping;
        let look = match (may_look, self.is_ordered()) {
            (false, _) => vec![],
            (true, false) => vec![Source::Stream, Source::DeadLetters],
            (true, true) => vec![Source::DeadLetters],
        };
        self.heartbeat_sent = Some(entries.clone());
        out.push(Output::Heartbeat { entries, look, counts: self.counts() });
    }

    /// Stopping: what no worker began is due for anybody at once, and its attempt does not count.
    fn hand_back(&mut self) {
        if !self.stopping {
            return;
        }
        for (entry, state) in self.in_flight.iter_mut() {
            if matches!(state.stage, Stage::Waiting(_)) {
                // Delayed, a suspect would run beside others.
                let is_suspect = state.pool == Some(Pool::Suspect);
                let pool = if is_suspect { Pool::Suspect } else { Pool::Delayed };
                let (id, attempts, delay) = (entry.id, state.attempt - 1, Moment::ZERO);
                let request = DelayRequest { id, attempts, delay, pool };
                state.stage = Stage::Delaying { request, sent: false };
            }
        }
    }

    fn settle(&mut self, out: &mut Vec<Output>) {
        let mut requests: BTreeMap<_, Vec<DelayRequest>> = BTreeMap::new();
        for (entry, state) in self.in_flight.iter_mut() {
            match &mut state.stage {
                Stage::Delaying { request, sent: sent @ false } => {
                    *sent = true;
                    let request = DelayRequest { delay: request.delay.min(DAY), ..*request };
                    let is_suspect = request.pool == Pool::Suspect;
                    requests.entry((entry.source, is_suspect)).or_default().push(request);
                }
                Stage::DeadLettering { letter, sent: sent @ false } => {
                    *sent = true;
                    out.push(Output::DeadLetter(letter.clone()));
                }
                _ => {}
            }
        }
        let requests = requests.into_iter();
        out.extend(requests.map(|((source, _), requests)| Output::Delay(source, requests)));
    }

    fn free_workers(&self) -> usize {
        let reserved = self.claiming.map_or(0, |(_, _, count)| count);
        self.config.concurrency.saturating_sub(self.in_flight.running() + reserved)
    }

    fn claim(&mut self, now: Moment, out: &mut Vec<Output>) {
        if self.stopping || self.claiming.is_some() {
            return;
        }
        let (source, pool, count) = match (self.suspects.first(), self.due_delayed(now)) {
            (Some(source), _) => {
                let alone = self.in_flight.is_empty() && !self.reading;
                (*source, Pool::Suspect, usize::from(alone))
            }
            (None, Some(source)) => (source, Pool::Delayed, self.room_for_retries()),
            (None, None) => return,
        };
        if count > 0 {
            self.claiming = Some((source, pool, count));
            out.push(Output::Claim { source, pool, count });
        }
    }

    /// Where delayed entries are to be looked for now; by turns where both places are due.
    fn due_delayed(&self, now: Moment) -> Option<Source> {
        let replays = self.replays > 0 && now >= self.next_replay;
        match (now >= self.next_claim, replays) {
            (true, false) => Some(Source::Stream),
            (false, true) => Some(Source::DeadLetters),
            (true, true) if self.claimed_from == Source::Stream => Some(Source::DeadLetters),
            (true, true) => Some(Source::Stream),
            (false, false) => None,
        }
    }

    /// Retries get every free worker, but at most half of all, at least one, while new entries wait.
    fn room_for_retries(&self) -> usize {
        let waiting_new = self.in_flight.waiting_new();
        // Those just taken are begun after this.
        let waiting_retries = self.in_flight.waiting() - waiting_new;
        let free = self.free_workers().saturating_sub(waiting_retries);
        if waiting_new == 0 {
            return free;
        }
        let half = (self.config.concurrency / 2).max(1);
        free.min(half.saturating_sub(self.in_flight.retrying()))
    }

    fn read_more(&mut self, out: &mut Vec<Output>) {
        let paused = self.stopping || !self.suspects.is_empty() || self.delayed >= MAX_DELAYED;
        if paused || self.reading {
            return;
        }
        let most = self.config.concurrency + self.config.batch_size;
        let claiming = self.claiming.map_or(0, |(_, _, count)| count);
        let room = most.saturating_sub(self.in_flight.len() + claiming).min(self.config.batch_size);
        // Half a batch at least: a read for every freed place would cost the server a command an event.
        if room * 2 >= self.config.batch_size || (room > 0 && self.in_flight.waiting() == 0) {
            self.reading = true;
            out.push(Output::Read { count: room });
        }
    }

    fn start(&mut self, out: &mut Vec<Output>) {
        for entry in self.in_flight.next_waiting(self.free_workers()) {
            let Some(state) = self.in_flight.get_mut(entry) else {
                continue;
            };
            let running = Stage::Running { forgotten: false };
            if let Stage::Waiting(delivery) = std::mem::replace(&mut state.stage, running) {
                out.push(Output::Start(entry, delivery));
            }
        }
    }

    /// The name goes last, when nothing is in flight and nothing outstanding.
    fn leave(&mut self, out: &mut Vec<Output>) {
        let outstanding = self.reading
            || self.fetching_next
            || self.claiming.is_some()
            || self.acking > 0
            || self.heartbeat_sent.is_some()
            || self.leaving;
        if self.stopping && self.in_flight.is_empty() && self.skipped.is_empty() && !outstanding {
            self.leaving = true;
            out.push(Output::Leave(self.counts()));
        }
    }

    /// With nothing in flight there is nothing to wait for: a name that stays behind holds no entry.
    fn stop_without_connection(&self, out: &mut Vec<Output>) {
        if self.stopping && self.in_flight.is_empty() && !self.unsettled && !self.reading {
            out.push(Output::Stopped);
        }
    }
}
