//! The commands that the state calls for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::in_flight::Stage;
use super::machine::{ConnectionState, Machine};
use super::mode::Mode;
use super::{DAY, DelayRequest, EntryRef, Moment, Output, Pool, Source};

/// IDs in one acknowledgement, and the time that the first of them waits for the others.
const ACK_BATCH: usize = 64;
const ACK_WAIT: Duration = Duration::from_millis(5);

impl Machine {
    /// Returns the moment at which [`Input::Tick`](super::Input::Tick) is due: the next heartbeat, claim, acknowledgement
    /// or end of a lease after `now`, the moment of the last input. What was due by then waits for another input, not for
    /// time.
    #[must_use]
    pub fn due_at(&self, now: Moment) -> Option<Moment> {
        let up = self.connection == ConnectionState::Up;
        let heartbeat = (up && self.outstanding.heartbeat.is_none()).then_some(self.next_heartbeat);
        let may_claim = up && self.outstanding.claim.is_none() && !self.stopping;
        let next_claim = match &self.mode {
            Mode::Unordered(mode) => mode.next_claim,
            Mode::Ordered(mode) => mode.next_fetch,
        };
        let claim = may_claim.then_some(next_claim);
        let replay = (may_claim && self.replays.count > 0).then_some(self.replays.next_claim);
        let ack = self.ack_since.filter(|_| up).map(|since| since + ACK_WAIT);
        let due =
            [self.in_flight.first_lease_end(), heartbeat, claim, replay, ack].into_iter().flatten();
        due.filter(|moment| *moment > now).min()
    }

    pub(super) fn proceed(&mut self, now: Moment, out: &mut Vec<Output>) {
        match self.connection {
            ConnectionState::Down => self.stop_without_connection(out),
            ConnectionState::Flushing => {
                self.acknowledge(now, out);
                if self.outstanding.acks == 0 {
                    self.connection = ConnectionState::Heartbeating;
                    self.heartbeat(now, out);
                }
            }
            ConnectionState::Heartbeating => {}
            ConnectionState::Up => {
                self.release_unbegun();
                self.settle(out);
                if self.ack_due(now) && !self.acknowledges_with_next() {
                    self.acknowledge(now, out);
                }
                if now >= self.next_heartbeat && self.outstanding.heartbeat.is_none() {
                    self.heartbeat(now, out);
                }
                self.list_pending(out);
                match self.mode {
                    // Their entries are given back first: nothing on its way may be taken for one of them.
                    _ if !self.lost.is_empty() => {}
                    Mode::Ordered(mode) => self.fetch_next(mode, now, out),
                    Mode::Unordered(mode) => {
                        self.claim(mode, now, out);
                        self.read_more(mode, out);
                    }
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
        let only_these_are_left = finished == self.in_flight.len();
        let waited = self.ack_since.is_some_and(|since| now >= since + ACK_WAIT);
        open >= ACK_BATCH || only_these_are_left || waited || self.stopping
    }

    /// Returns `true` if the command for the next entry acknowledges the one before, with order kept.
    fn acknowledges_with_next(&self) -> bool {
        let only = self.in_flight.only_finished().is_some() && self.skipped.is_empty();
        self.is_ordered() && !self.stopping && only
    }

    /// Acknowledges finished and skipped entries. Within its lease an entry is ours; after it, and for replays always, the
    /// server checks.
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
                let stage = Stage::Finished { sent: true };
                self.in_flight.update(*entry, |state| state.stage = stage);
            }
            if !entries.is_empty() {
                self.outstanding.acks += 1;
                out.push(Output::Ack { entries, checked });
            }
        }
    }

    fn heartbeat(&mut self, now: Moment, out: &mut Vec<Output>) {
        let entries = self.in_flight.renewable();
        self.failures.expire(now);
        let may_search = now >= self.connected_at + self.config.lease && !self.stopping;
        let search = match (may_search, self.is_ordered()) {
            (false, _) => vec![],
            (true, false) => vec![Source::Stream, Source::DeadLetters],
            (true, true) => vec![Source::DeadLetters],
        };
        self.outstanding.heartbeat = Some(entries.clone());
        out.push(Output::Heartbeat { entries, search, counts: self.counts() });
    }

    /// Releases, when stopping, the entries that no worker began: they are due for any consumer at once, and their
    /// attempt does not count.
    fn release_unbegun(&mut self) {
        if !self.stopping {
            return;
        }
        for entry in self.in_flight.all_waiting() {
            self.in_flight.update(entry, |state| {
                // Delayed, a suspect would run beside others.
                let is_suspect = state.pool == Some(Pool::Suspect);
                let pool = if is_suspect { Pool::Suspect } else { Pool::Delayed };
                let (id, attempts, delay) = (entry.id, state.attempt - 1, Duration::ZERO);
                let request = DelayRequest { id, attempts, delay, pool };
                state.stage = Stage::Delaying { request, sent: false };
            });
        }
    }

    /// Sends the commands for entries to delay or to dead-letter.
    fn settle(&mut self, out: &mut Vec<Output>) {
        let mut requests: BTreeMap<_, Vec<DelayRequest>> = BTreeMap::new();
        for entry in self.in_flight.unsettled() {
            self.in_flight.update(entry, |state| match &mut state.stage {
                Stage::Delaying { request, sent } => {
                    *sent = true;
                    let request = DelayRequest { delay: request.delay.min(DAY), ..*request };
                    let is_suspect = request.pool == Pool::Suspect;
                    requests.entry((entry.source, is_suspect)).or_default().push(request);
                }
                Stage::DeadLettering { letter, sent } => {
                    *sent = true;
                    out.push(Output::DeadLetter(letter.clone()));
                }
                _ => {}
            });
        }
        let requests = requests.into_iter();
        out.extend(requests.map(|((source, _), requests)| Output::Delay(source, requests)));
    }

    /// Returns the number of workers that have no entry, and that the outstanding claim does not need.
    pub(super) fn free_workers(&self) -> usize {
        let reserved = self.outstanding.claimable();
        self.config.concurrency.saturating_sub(self.in_flight.running() + reserved)
    }

    fn start(&mut self, out: &mut Vec<Output>) {
        for entry in self.in_flight.next_waiting(self.free_workers()) {
            self.in_flight.update(entry, |state| {
                let running = Stage::Running { forgotten: false };
                if let Stage::Waiting(delivery) = std::mem::replace(&mut state.stage, running) {
                    out.push(Output::Start(entry, delivery));
                }
            });
        }
    }

    /// Leaves the group last, when nothing is in flight and nothing outstanding.
    fn leave(&mut self, out: &mut Vec<Output>) {
        let is_idle = self.in_flight.is_empty()
            && self.skipped.is_empty()
            && self.outstanding.is_empty()
            && self.lost.is_empty();
        if self.stopping && is_idle {
            self.outstanding.leave = true;
            out.push(Output::Leave(self.counts()));
        }
    }

    /// Stops at once if nothing is in flight: a name that stays behind holds no entry.
    fn stop_without_connection(&self, out: &mut Vec<Output>) {
        let is_idle = self.in_flight.is_empty()
            && !self.dropped
            && self.outstanding.read.is_none()
            && self.lost.is_empty();
        if self.stopping && is_idle {
            out.push(Output::Stopped);
        }
    }
}
