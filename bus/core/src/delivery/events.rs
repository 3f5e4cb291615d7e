//! Effects of each input on the state.

use crate::event::RawEntry;

use super::in_flight::Stage;
use super::lost::Failures;
use super::machine::{ConnectionState, Machine, Origin};
use super::mode::{CLAIM_EVERY, Mode};
use super::settle::{Disposition, settle};
use super::{
    Claimed, Cut, DelayRequest, EntryRef, HeartbeatReport, Moment, Outcome, Output, Pool, Source,
    WriteResult,
};

impl Machine {
    pub(super) fn on_connected(&mut self, now: Moment) {
        self.connection = ConnectionState::Flushing;
        self.connected_at = now;
        self.replays.next_claim = now;
        match &mut self.mode {
            Mode::Unordered(mode) => mode.next_claim = now,
            Mode::Ordered(mode) => mode.next_fetch = now,
        }
    }

    pub(super) fn on_disconnected(&mut self, reading: bool, cut: Option<Cut>) {
        self.lose_replies(reading, cut);
        self.connection = ConnectionState::Down;
        self.outstanding.clear(reading);
        self.suspects.clear();
        if let Mode::Ordered(mode) = &mut self.mode {
            mode.end = None;
        }
        self.in_flight.retain(|_, state| {
            match &mut state.stage {
                Stage::Finished { sent }
                | Stage::Delaying { sent, .. }
                | Stage::DeadLettering { sent, .. } => *sent = false,
                Stage::Waiting(_) | Stage::Running { .. } => {}
            }
            true
        });
    }

    /// Forgets the pending entries. Running handlers may finish; the end of their calls has no effect.
    pub(super) fn on_no_group(&mut self, reading: bool) {
        self.on_disconnected(reading, None);
        self.lost.clear();
        self.failures = Failures::default();
        self.skipped.clear();
        self.dropped = false;
        self.in_flight.retain(|_, state| match &mut state.stage {
            Stage::Running { forgotten } => {
                *forgotten = true;
                true
            }
            _ => false,
        });
    }

    pub(super) fn on_read(&mut self, sent: Moment, entries: Vec<RawEntry>, now: Moment) {
        self.outstanding.read = None;
        if !entries.is_empty() {
            self.fetch.pace.answered(entries.len(), now - sent);
        }
        let origin = Origin { source: Source::Stream, pool: None, sent };
        for entry in entries {
            self.receive(origin, 1, entry, now);
        }
    }

    pub(super) fn on_claimed(
        &mut self,
        origin: Origin,
        entries: Vec<Claimed>,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let asked = self.outstanding.claimable();
        self.outstanding.claim = None;
        if !entries.is_empty() {
            self.fetch.pace.answered(entries.len(), now - origin.sent);
        }
        let next = if entries.len() < asked { now + CLAIM_EVERY } else { now };
        let is_suspect = origin.pool == Some(Pool::Suspect);
        if is_suspect && entries.is_empty() {
            self.suspects.retain(|source| *source != origin.source);
        }
        if !is_suspect && origin.source == Source::DeadLetters {
            self.replays.next_claim = next;
        }
        if let Mode::Unordered(mode) = &mut self.mode {
            mode.claimed_from = origin.source;
            if !is_suspect && origin.source == Source::Stream {
                mode.next_claim = next;
            }
        }
        for claimed in entries {
            self.receive_claimed(origin, claimed, now, out);
        }
    }

    pub(super) fn on_handled(
        &mut self,
        entry: EntryRef,
        outcome: Outcome,
        now: Moment,
        random: f64,
    ) {
        let Some(state) = self.in_flight.get(entry) else {
            return;
        };
        if matches!(state.stage, Stage::Running { forgotten: true }) {
            self.in_flight.remove(entry);
            return;
        }
        let stage = match settle(entry, state.attempt, outcome, &self.config, random) {
            Disposition::Acknowledge => {
                self.ack_since.get_or_insert(now);
                Stage::Finished { sent: false }
            }
            Disposition::Delay(request) => {
                self.counts.retried += 1;
                Stage::Delaying { request, sent: false }
            }
            Disposition::DeadLetter(letter) => Stage::DeadLettering { letter, sent: false },
        };
        self.in_flight.update(entry, |state| state.stage = stage);
    }

    pub(super) fn on_heartbeat(
        &mut self,
        sent: Moment,
        report: &HeartbeatReport,
        random: f64,
        out: &mut Vec<Output>,
    ) {
        let renewed = self.outstanding.heartbeat.take().unwrap_or_default();
        self.connection = ConnectionState::Up;
        self.dropped = false;
        self.replays.count = report.replays;
        if let Mode::Unordered(mode) = &mut self.mode {
            mode.delayed = report.delayed;
        }
        self.counts.lost += report.trimmed;
        // A third of the lease, or a little less by chance, so that consumers do not send heartbeats in step.
        self.next_heartbeat = sent + (self.config.lease / 3).mul_f64(0.8 + 0.2 * random);
        for entry in &report.lost {
            self.lose(*entry, sent, out);
        }
        for entry in renewed {
            let leased_until = sent + self.config.lease;
            self.in_flight.update(entry, |state| {
                if state.since <= sent {
                    state.leased_until = leased_until;
                }
            });
        }
        if !self.stopping {
            self.add_suspects(&report.suspects);
        }
    }

    /// Sets the sources in which suspects are due. The server no longer counts the one in flight or being claimed; it is
    /// to stay alone all the same.
    fn add_suspects(&mut self, due: &[Source]) {
        let is_being_claimed =
            self.outstanding.claim.is_some_and(|claim| claim.pool == Pool::Suspect);
        if !is_being_claimed && !self.in_flight.has_suspect() {
            self.suspects.clear();
        }
        for source in due {
            // With order kept, the oldest pending entry of the stream is the next one, whichever consumer had it.
            let is_next = self.is_ordered() && *source == Source::Stream;
            if !is_next && !self.suspects.contains(source) {
                self.suspects.push(*source);
            }
        }
    }

    /// Drops an entry that another consumer holds, by a heartbeat sent at `sent`, unless it came back since.
    fn lose(&mut self, entry: EntryRef, sent: Moment, out: &mut Vec<Output>) {
        if self.in_flight.get(entry).is_none_or(|state| state.since > sent) {
            return;
        }
        let state = self.in_flight.remove(entry);
        if state.is_some_and(|state| matches!(state.stage, Stage::Running { .. })) {
            out.push(Output::Cancel(entry));
        }
    }

    pub(super) fn on_acked(&mut self, entries: &[EntryRef], confirmed: u64) {
        self.outstanding.acks = self.outstanding.acks.saturating_sub(1);
        self.counts.unconfirmed += (entries.len() as u64).saturating_sub(confirmed);
        for entry in entries {
            self.counts.acknowledged += u64::from(self.in_flight.remove(*entry).is_some());
        }
    }

    pub(super) fn on_delayed(
        &mut self,
        entry: EntryRef,
        result: WriteResult,
        out: &mut Vec<Output>,
    ) {
        if result == WriteResult::Trimmed {
            self.counts.lost += 1;
            out.push(Output::Trimmed(entry));
        }
        // Refused: it stays pending here under its lease, and is claimed when that ends.
        match (&mut self.mode, entry.source) {
            _ if result != WriteResult::Done => {}
            (_, Source::DeadLetters) => self.replays.count += 1,
            (Mode::Unordered(mode), Source::Stream) => mode.delayed += 1,
            (Mode::Ordered(_), Source::Stream) => {}
        }
        self.in_flight.remove(entry);
    }

    pub(super) fn on_dead_lettered(&mut self, entry: EntryRef, result: WriteResult) {
        let Some(state) = self.in_flight.get(entry) else {
            return;
        };
        match (&state.stage, result) {
            (Stage::DeadLettering { letter, .. }, WriteResult::Refused) => {
                // With no attempt left, the consumer that claims it dead-letters it without a handler call.
                let attempts = letter.attempts.max(self.config.max_attempts);
                let (id, delay) = (entry.id, self.config.backoff.max);
                let request = DelayRequest { id, attempts, delay, pool: Pool::Delayed };
                let stage = Stage::Delaying { request, sent: false };
                self.in_flight.update(entry, |state| state.stage = stage);
            }
            (_, result) => {
                self.counts.dead += u64::from(result == WriteResult::Done);
                self.in_flight.remove(entry);
            }
        }
    }

    /// Cuts off the handlers that still run: each call counts as an attempt.
    pub(super) fn on_grace_over(&mut self, now: Moment, random: f64, out: &mut Vec<Output>) {
        self.stopping = true;
        for entry in self.in_flight.in_handlers() {
            out.push(Output::Cancel(entry));
            self.on_handled(entry, Outcome::CutOff, now, random);
        }
    }

    /// Drops the entries whose lease is over.
    pub(super) fn expire(&mut self, now: Moment, out: &mut Vec<Output>) {
        for entry in self.in_flight.expired(now) {
            let state = self.in_flight.remove(entry);
            if state.is_some_and(|state| matches!(state.stage, Stage::Running { .. })) {
                out.push(Output::Cancel(entry));
            }
            self.dropped = true;
        }
    }
}
