//! The state machine itself.

use std::sync::Arc;

use crate::event::{RawEntry, StreamEvent, TypeFilter};
use crate::names::{EntryId, GroupName, StreamKey};

use super::in_flight::{EntryState, InFlight, Stage};
use super::settle::{Disposition, settle};
use super::{
    Claimed, Counts, DeadLetter, DelayRequest, Delivery, DeliveryConfig, DeliveryOrder, EntryRef,
    HeartbeatReport, Input, Moment, Outcome, Output, Pool, Source, WriteResult,
};

/// How often delayed entries are looked for; their times are kept about this exactly.
pub(super) const CLAIM_EVERY: Moment = Moment::from_secs(1);
/// Spreads one random over many throws: the fraction that repeats least.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// How far the present connection is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    Down,
    /// What finished during the outage is being acknowledged.
    Flushing,
    /// The first heartbeat tells what is still ours.
    Heartbeating,
    Up,
}

/// Where entries come from, and when the command that got them was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub source: Source,
    pub pool: Option<Pool>,
    pub sent: Moment,
}

/// One consumer's view of its group: what is in flight, and which commands are outstanding.
#[derive(Debug)]
pub struct Machine {
    pub(super) stream: StreamKey,
    pub(super) group: GroupName,
    pub(super) types: TypeFilter,
    pub(super) config: DeliveryConfig,
    pub(super) in_flight: InFlight,
    pub(super) connection: ConnectionState,
    pub(super) connected_at: Moment,
    pub(super) reading: bool,
    pub(super) claiming: Option<(Source, Pool, usize)>,
    pub(super) acking: usize,
    /// What the outstanding heartbeat asked about.
    pub(super) heartbeat_sent: Option<Vec<EntryRef>>,
    pub(super) next_heartbeat: Moment,
    pub(super) next_claim: Moment,
    pub(super) next_replay: Moment,
    /// Where delayed entries were taken last, so that neither place starves the other.
    pub(super) claimed_from: Source,
    pub(super) ack_since: Option<Moment>,
    /// Of unwanted types, and until when they are ours.
    pub(super) skipped: Vec<(EntryRef, Moment)>,
    pub(super) delayed: u64,
    pub(super) replays: u64,
    /// Where entries of vanished consumers are due. While there is such a place nothing is read: what is in flight is
    /// finished, then each is run alone in the process.
    pub(super) suspects: Vec<Source>,
    /// Where the order is kept: the outstanding commands, and the last entry delivered if there is none after it.
    pub(super) fetching_next: bool,
    pub(super) waiting_for_entry: bool,
    pub(super) end: Option<EntryId>,
    pub(super) stopping: bool,
    pub(super) leaving: bool,
    /// Entries were let go of that nothing was said about to the server: it still counts them as ours.
    pub(super) unsettled: bool,
    pub(super) counts: Counts,
}

impl Machine {
    /// A consumer with nothing in flight and no connection. `config` is [checked](DeliveryConfig::check).
    #[must_use]
    pub fn new(
        stream: StreamKey,
        group: GroupName,
        types: TypeFilter,
        config: DeliveryConfig,
    ) -> Self {
        Self {
            stream,
            group,
            types,
            config,
            in_flight: InFlight::default(),
            connection: ConnectionState::Down,
            connected_at: Moment::ZERO,
            reading: false,
            claiming: None,
            acking: 0,
            heartbeat_sent: None,
            next_heartbeat: Moment::ZERO,
            next_claim: Moment::ZERO,
            next_replay: Moment::ZERO,
            claimed_from: Source::Stream,
            ack_since: None,
            skipped: Vec::new(),
            delayed: 0,
            replays: 0,
            suspects: Vec::new(),
            fetching_next: false,
            waiting_for_entry: false,
            end: None,
            stopping: false,
            leaving: false,
            unsettled: false,
            counts: Counts::default(),
        }
    }

    /// Takes in what happened and answers what to do now. `random` is uniform in `0.0..1.0`, new for each call.
    pub fn on(&mut self, input: Input, now: Moment, random: f64) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Connected => self.connected(now),
            Input::Disconnected { reading } => self.disconnected(reading),
            Input::NoGroup { reading } => self.no_group(reading),
            Input::Read { sent, entries } => self.read(sent, entries, now),
            Input::Claimed { sent, source, pool, entries } => {
                self.claimed(Origin { source, pool: Some(pool), sent }, entries, now, &mut out);
            }
            Input::Next { sent, done, next } => {
                if let Some((id, mine)) = done {
                    self.done_before_next(id, mine);
                }
                self.next_is(sent, next, now, &mut out);
            }
            Input::Arrived => (self.waiting_for_entry, self.end) = (false, None),
            Input::Handled(calls) => {
                for ((entry, outcome), index) in calls.into_iter().zip(0_u32..) {
                    let random = (random + GOLDEN * f64::from(index)).fract();
                    self.handled(entry, outcome, now, random);
                }
            }
            Input::Heartbeat { sent, report } => {
                self.heartbeat_answered(sent, &report, random, &mut out)
            }
            Input::Acked { entries, confirmed } => self.acked(&entries, confirmed),
            Input::Delayed(settled) => {
                settled.into_iter().for_each(|(entry, how)| self.delayed(entry, how, &mut out));
            }
            Input::DeadLettered(entry, settled) => self.dead_lettered(entry, settled),
            Input::Left => return vec![Output::Stopped],
            Input::Tick => {}
            Input::Stop => self.stopping = true,
            Input::GraceOver => self.cut_off(now, random, &mut out),
        }
        self.expire(now, &mut out);
        self.proceed(now, &mut out);
        out
    }

    /// Returns the counts since the start, and the number of entries in flight.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { in_flight: self.in_flight.len() as u64, ..self.counts }
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.config.ordering == DeliveryOrder::Stream
    }

    fn connected(&mut self, now: Moment) {
        self.connection = ConnectionState::Flushing;
        self.connected_at = now;
        (self.next_claim, self.next_replay) = (now, now);
    }

    fn disconnected(&mut self, reading: bool) {
        self.connection = ConnectionState::Down;
        self.reading = reading;
        (self.claiming, self.acking, self.heartbeat_sent) = (None, 0, None);
        (self.fetching_next, self.waiting_for_entry, self.end, self.leaving) =
            (false, false, None, false);
        self.suspects.clear();
        for (_, state) in self.in_flight.iter_mut() {
            match &mut state.stage {
                Stage::Finished { sent }
                | Stage::Delaying { sent, .. }
                | Stage::DeadLettering { sent, .. } => *sent = false,
                Stage::Waiting(_) | Stage::Running { .. } => {}
            }
        }
    }

    /// What was pending is pending no more; handlers that run may finish, their end means nothing.
    fn no_group(&mut self, reading: bool) {
        self.disconnected(reading);
        self.skipped.clear();
        self.unsettled = false;
        self.in_flight.retain(|_, state| match &mut state.stage {
            Stage::Running { forgotten } => {
                *forgotten = true;
                true
            }
            _ => false,
        });
    }

    fn read(&mut self, sent: Moment, entries: Vec<RawEntry>, now: Moment) {
        self.reading = false;
        let origin = Origin { source: Source::Stream, pool: None, sent };
        for entry in entries {
            self.receive(origin, 1, entry, now);
        }
    }

    fn claimed(
        &mut self,
        origin: Origin,
        entries: Vec<Claimed>,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let asked = self.claiming.take().map_or(0, |(_, _, count)| count);
        let again = if entries.len() < asked { now + CLAIM_EVERY } else { now };
        match (origin.pool, origin.source) {
            (Some(Pool::Suspect), source) if entries.is_empty() => {
                self.suspects.retain(|place| *place != source);
            }
            (Some(Pool::Suspect), _) => {}
            (_, Source::Stream) => self.next_claim = again,
            (_, Source::DeadLetters) => self.next_replay = again,
        }
        self.claimed_from = origin.source;
        for claimed in entries {
            self.receive_claimed(origin, claimed, now, out);
        }
    }

    pub(super) fn receive_claimed(
        &mut self,
        origin: Origin,
        claimed: Claimed,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let Claimed { id, attempt, entry } = claimed;
        if let Some(entry) = entry {
            self.receive(origin, attempt, entry, now);
        } else {
            self.counts.lost += 1;
            out.push(Output::Trimmed(EntryRef { source: origin.source, id }));
        }
    }

    /// Takes an entry into the hand, or to those that are acknowledged unseen.
    fn receive(&mut self, origin: Origin, attempt: u32, raw: RawEntry, now: Moment) {
        let entry = EntryRef { source: origin.source, id: raw.id };
        let leased_until = origin.sent + self.config.lease;
        if let Some(state) = self.in_flight.get_mut(entry) {
            // Delivered again while its handler still runs, after the group was lost: the one call serves both.
            state.leased_until = leased_until;
            state.attempt = state.attempt.max(attempt);
            if let Stage::Running { forgotten } = &mut state.stage {
                *forgotten = false;
            }
            return;
        }
        self.counts.received += 1;
        let unwanted = raw.event_type().is_some_and(|text| !self.types.matches(text));
        if unwanted && origin.source == Source::Stream {
            self.counts.skipped += 1;
            self.skipped.push((entry, leased_until));
            self.ack_since.get_or_insert(now);
            return;
        }
        let stage = self.first_stage(entry, origin.pool, attempt, raw);
        let state =
            EntryState { pool: origin.pool, since: origin.sent, leased_until, attempt, stage };
        self.in_flight.insert(entry, state);
    }

    /// What is to be done with an entry of which `attempt - 1` handler calls were begun.
    fn first_stage(
        &self,
        entry: EntryRef,
        pool: Option<Pool>,
        attempt: u32,
        raw: RawEntry,
    ) -> Stage {
        let begun = attempt - 1;
        let dead_letter = |reason, error| {
            let letter = DeadLetter { entry, attempts: begun, reason, error };
            Stage::DeadLettering { letter, sent: false }
        };
        let replay = entry.source == Source::DeadLetters;
        let raw = if replay { raw.without_dead_letter_fields() } else { raw };
        let event = match StreamEvent::decode(&self.stream, raw) {
            Ok(event) => event,
            Err(error) => return dead_letter("unreadable", error.to_string()),
        };
        let most = self.config.max_attempts;
        match pool {
            Some(Pool::Suspect) if begun > most => dead_letter(
                "crashed",
                format!("its consumer vanished with it, at attempt {begun} the last time"),
            ),
            Some(Pool::Delayed) if begun >= most => {
                dead_letter("exhausted", "its dead letter could not be written before".to_owned())
            }
            _ => {
                let (stream, group) = (self.stream.clone(), self.group.clone());
                Stage::Waiting(Arc::new(Delivery { event, attempt, stream, group, replay }))
            }
        }
    }

    fn handled(&mut self, entry: EntryRef, outcome: Outcome, now: Moment, random: f64) {
        let Some(state) = self.in_flight.get_mut(entry) else {
            return;
        };
        if matches!(state.stage, Stage::Running { forgotten: true }) {
            self.in_flight.remove(entry);
            return;
        }
        state.stage = match settle(entry, state.attempt, outcome, &self.config, random) {
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
    }

    fn heartbeat_answered(
        &mut self,
        sent: Moment,
        report: &HeartbeatReport,
        random: f64,
        out: &mut Vec<Output>,
    ) {
        let asked = self.heartbeat_sent.take().unwrap_or_default();
        self.connection = ConnectionState::Up;
        self.unsettled = false;
        (self.delayed, self.replays) = (report.delayed, report.replays);
        self.counts.lost += report.trimmed;
        // A third of the lease, a little less by chance, so that consumers do not heartbeat in step.
        self.next_heartbeat = sent + (self.config.lease / 3).mul_f64(0.8 + 0.2 * random);
        for entry in &report.lost {
            self.lose(*entry, sent, out);
        }
        for entry in asked {
            if let Some(state) = self.in_flight.get_mut(entry).filter(|state| state.since <= sent) {
                state.leased_until = sent + self.config.lease;
            }
        }
        if !self.stopping {
            self.suspected(&report.suspects);
        }
    }

    /// Where suspects are due. The one in flight or on its way is none by the server's account, and is to stay alone.
    fn suspected(&mut self, due: &[Source]) {
        let on_its_way = matches!(self.claiming, Some((_, Pool::Suspect, _)));
        if !on_its_way && !self.in_flight.has_suspect() {
            self.suspects.clear();
        }
        for place in due {
            // In order, the oldest pending entry is the next one, whoever had it.
            let is_next = self.is_ordered() && *place == Source::Stream;
            if !is_next && !self.suspects.contains(place) {
                self.suspects.push(*place);
            }
        }
    }

    /// Forgets an entry that the heartbeat sent at `sent` found with somebody else, unless it came back since.
    pub(super) fn lose(&mut self, entry: EntryRef, sent: Moment, out: &mut Vec<Output>) {
        let Some(state) = self.in_flight.get_mut(entry).filter(|state| state.since <= sent) else {
            return;
        };
        if matches!(state.stage, Stage::Running { .. }) {
            out.push(Output::Cancel(entry));
        }
        self.in_flight.remove(entry);
    }

    fn acked(&mut self, entries: &[EntryRef], confirmed: u64) {
        self.acking = self.acking.saturating_sub(1);
        self.counts.unconfirmed += (entries.len() as u64).saturating_sub(confirmed);
        for entry in entries {
            if self.in_flight.get_mut(*entry).is_some() {
                self.counts.acknowledged += 1;
                self.in_flight.remove(*entry);
            }
        }
    }

    fn delayed(&mut self, entry: EntryRef, settled: WriteResult, out: &mut Vec<Output>) {
        if settled == WriteResult::Trimmed {
            self.counts.lost += 1;
            out.push(Output::Trimmed(entry));
        }
        // Refused: it stays pending here with its lease, and is taken over when that ends.
        if settled == WriteResult::Done && entry.source == Source::Stream {
            self.delayed += 1;
        }
        self.in_flight.remove(entry);
    }

    fn dead_lettered(&mut self, entry: EntryRef, settled: WriteResult) {
        let Some(state) = self.in_flight.get_mut(entry) else {
            return;
        };
        match (&state.stage, settled) {
            (Stage::DeadLettering { letter, .. }, WriteResult::Refused) => {
                // With no attempt left whoever takes it dead-letters it and calls no handler.
                let attempts = letter.attempts.max(self.config.max_attempts);
                let (id, delay) = (entry.id, self.config.backoff.max);
                let request = DelayRequest { id, attempts, delay, pool: Pool::Delayed };
                state.stage = Stage::Delaying { request, sent: false };
            }
            (_, settled) => {
                self.counts.dead += u64::from(settled == WriteResult::Done);
                self.in_flight.remove(entry);
            }
        }
    }

    /// The grace is over: a call that is cut off counts as an attempt.
    fn cut_off(&mut self, now: Moment, random: f64, out: &mut Vec<Output>) {
        self.stopping = true;
        for entry in self.in_flight.in_handlers() {
            out.push(Output::Cancel(entry));
            self.handled(entry, Outcome::CutOff, now, random);
        }
    }

    /// Lets go of what the lease no longer covers.
    fn expire(&mut self, now: Moment, out: &mut Vec<Output>) {
        let before = self.in_flight.len();
        self.in_flight.retain(|entry, state| {
            let over = state.leased_until <= now;
            match state.stage {
                Stage::Waiting(_) => !over,
                Stage::Running { forgotten: false } if over => {
                    out.push(Output::Cancel(entry));
                    false
                }
                _ => true,
            }
        });
        self.unsettled |= self.in_flight.len() < before;
    }
}
