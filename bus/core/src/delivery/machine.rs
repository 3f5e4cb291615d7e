//! The state machine itself.

use std::sync::Arc;

use crate::event::{RawEntry, StreamEvent, TypeFilter};
use crate::names::{EntryId, GroupName, StreamKey};

use super::hand::{Hand, Held, Stage};
use super::settle::{Settlement, settle};
use super::{
    BeatReport, Burial, Counts, Delivery, DeliveryConfig, DeliveryOrder, EntryRef, Input, Moment,
    Outcome, Output, Parking, Pool, Settled, Source, Taken,
};

/// How often parked entries are looked for; their times are kept about this exactly.
pub(super) const TAKE_EVERY: Moment = Moment::from_secs(1);
/// Spreads one die over many throws: the fraction that repeats least.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// How far the present connection is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    /// What finished during the outage is being acknowledged.
    Flushing,
    /// The first beat tells what is still ours.
    Beating,
    Up,
}

/// Where entries come from, and when the command that got them was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub source: Source,
    pub pool: Option<Pool>,
    pub sent: Moment,
}

/// One consumer's view of its group: what is in hand, and which commands are outstanding.
#[derive(Debug)]
pub struct Machine {
    pub(super) stream: StreamKey,
    pub(super) group: GroupName,
    pub(super) types: TypeFilter,
    pub(super) config: DeliveryConfig,
    pub(super) hand: Hand,
    pub(super) link: Link,
    pub(super) linked_at: Moment,
    pub(super) reading: bool,
    pub(super) taking: Option<(Source, Pool, usize)>,
    pub(super) acking: usize,
    /// What the outstanding beat asked about.
    pub(super) beating: Option<Vec<EntryRef>>,
    pub(super) next_beat: Moment,
    pub(super) next_take: Moment,
    pub(super) next_replay: Moment,
    /// Where parked entries were taken last, so that neither place starves the other.
    pub(super) took: Source,
    pub(super) ack_since: Option<Moment>,
    /// Of unwanted types, and until when they are ours.
    pub(super) skipped: Vec<(EntryRef, Moment)>,
    pub(super) parked: u64,
    pub(super) replays: u64,
    /// Where entries of vanished consumers are due. While there is such a place nothing is read: what is in hand is
    /// finished, then each is run alone in the process.
    pub(super) suspects: Vec<Source>,
    /// Where the order is kept: the outstanding commands, and the last entry delivered if there is none after it.
    pub(super) nexting: bool,
    pub(super) awaiting: bool,
    pub(super) end: Option<EntryId>,
    pub(super) stopping: bool,
    pub(super) leaving: bool,
    /// Entries were let go of that nothing was said about to the server: it still counts them as ours.
    pub(super) unsettled: bool,
    pub(super) counts: Counts,
}

impl Machine {
    /// A consumer with nothing in hand and no connection. `config` is [checked](DeliveryConfig::check).
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
            hand: Hand::default(),
            link: Link::Down,
            linked_at: Moment::ZERO,
            reading: false,
            taking: None,
            acking: 0,
            beating: None,
            next_beat: Moment::ZERO,
            next_take: Moment::ZERO,
            next_replay: Moment::ZERO,
            took: Source::Stream,
            ack_since: None,
            skipped: Vec::new(),
            parked: 0,
            replays: 0,
            suspects: Vec::new(),
            nexting: false,
            awaiting: false,
            end: None,
            stopping: false,
            leaving: false,
            unsettled: false,
            counts: Counts::default(),
        }
    }

    /// Takes in what happened and answers what to do now. `die` is uniform in `0.0..1.0`, new for each call.
    pub fn on(&mut self, input: Input, now: Moment, die: f64) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Connected => self.connected(now),
            Input::Disconnected { reading } => self.disconnected(reading),
            Input::NoGroup { reading } => self.no_group(reading),
            Input::Read { sent, entries } => self.read(sent, entries, now),
            Input::Taken { sent, source, pool, entries } => {
                self.taken(Origin { source, pool: Some(pool), sent }, entries, now, &mut out);
            }
            Input::Next { sent, done, next } => {
                if let Some((id, mine)) = done {
                    self.done_before_next(id, mine);
                }
                self.next_is(sent, next, now, &mut out);
            }
            Input::Arrived => (self.awaiting, self.end) = (false, None),
            Input::Handled(calls) => {
                for ((entry, outcome), throw) in calls.into_iter().zip(0_u32..) {
                    let die = (die + GOLDEN * f64::from(throw)).fract();
                    self.handled(entry, outcome, now, die);
                }
            }
            Input::Beaten { sent, report } => self.beaten(sent, &report, die, &mut out),
            Input::Acked { entries, confirmed } => self.acked(&entries, confirmed),
            Input::Parked(settled) => {
                settled.into_iter().for_each(|(entry, how)| self.parked(entry, how, &mut out));
            }
            Input::Buried(entry, settled) => self.buried(entry, settled),
            Input::Left => return vec![Output::Stopped],
            Input::Tick => {}
            Input::Stop => self.stopping = true,
            Input::GraceOver => self.cut_off(now, die, &mut out),
        }
        self.expire(now, &mut out);
        self.proceed(now, &mut out);
        out
    }

    /// What was done so far, and what is in hand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { in_flight: self.hand.len() as u64, ..self.counts }
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.config.ordering == DeliveryOrder::Stream
    }

    fn connected(&mut self, now: Moment) {
        self.link = Link::Flushing;
        self.linked_at = now;
        (self.next_take, self.next_replay) = (now, now);
    }

    fn disconnected(&mut self, reading: bool) {
        self.link = Link::Down;
        self.reading = reading;
        (self.taking, self.acking, self.beating) = (None, 0, None);
        (self.nexting, self.awaiting, self.end, self.leaving) = (false, false, None, false);
        self.suspects.clear();
        for (_, held) in self.hand.iter_mut() {
            match &mut held.stage {
                Stage::Finished { sent }
                | Stage::Parking { sent, .. }
                | Stage::Burying { sent, .. } => *sent = false,
                Stage::Waiting(_) | Stage::Running { .. } => {}
            }
        }
    }

    /// What was pending is pending no more; handlers that run may finish, their end means nothing.
    fn no_group(&mut self, reading: bool) {
        self.disconnected(reading);
        self.skipped.clear();
        self.unsettled = false;
        self.hand.retain(|_, held| match &mut held.stage {
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

    fn taken(&mut self, origin: Origin, entries: Vec<Taken>, now: Moment, out: &mut Vec<Output>) {
        let asked = self.taking.take().map_or(0, |(_, _, count)| count);
        let again = if entries.len() < asked { now + TAKE_EVERY } else { now };
        match (origin.pool, origin.source) {
            (Some(Pool::Suspect), source) if entries.is_empty() => {
                self.suspects.retain(|place| *place != source);
            }
            (Some(Pool::Suspect), _) => {}
            (_, Source::Stream) => self.next_take = again,
            (_, Source::DeadLetters) => self.next_replay = again,
        }
        self.took = origin.source;
        for taken in entries {
            self.take_up(origin, taken, now, out);
        }
    }

    pub(super) fn take_up(
        &mut self,
        origin: Origin,
        taken: Taken,
        now: Moment,
        out: &mut Vec<Output>,
    ) {
        let Taken { id, attempt, entry } = taken;
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
        if let Some(held) = self.hand.get_mut(entry) {
            // Delivered again while its handler still runs, after the group was lost: the one call serves both.
            held.leased_until = leased_until;
            held.attempt = held.attempt.max(attempt);
            if let Stage::Running { forgotten } = &mut held.stage {
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
        let held = Held { pool: origin.pool, since: origin.sent, leased_until, attempt, stage };
        self.hand.insert(entry, held);
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
        let bury = |reason, error| {
            let burial = Burial { entry, attempts: begun, reason, error };
            Stage::Burying { burial, sent: false }
        };
        let replay = entry.source == Source::DeadLetters;
        let raw = if replay { raw.without_dead_letter_fields() } else { raw };
        let event = match StreamEvent::decode(&self.stream, raw) {
            Ok(event) => event,
            Err(error) => return bury("unreadable", error.to_string()),
        };
        let most = self.config.max_attempts;
        match pool {
            Some(Pool::Suspect) if begun > most => bury(
                "crashed",
                format!("its consumer vanished with it, at attempt {begun} the last time"),
            ),
            Some(Pool::Parked) if begun >= most => {
                bury("exhausted", "its dead letter could not be written before".to_owned())
            }
            _ => {
                let (stream, group) = (self.stream.clone(), self.group.clone());
                Stage::Waiting(Arc::new(Delivery { event, attempt, stream, group, replay }))
            }
        }
    }

    fn handled(&mut self, entry: EntryRef, outcome: Outcome, now: Moment, die: f64) {
        let Some(held) = self.hand.get_mut(entry) else {
            return;
        };
        if matches!(held.stage, Stage::Running { forgotten: true }) {
            self.hand.remove(entry);
            return;
        }
        held.stage = match settle(entry, held.attempt, outcome, &self.config, die) {
            Settlement::Acknowledge => {
                self.ack_since.get_or_insert(now);
                Stage::Finished { sent: false }
            }
            Settlement::Park(parking) => {
                self.counts.retried += 1;
                Stage::Parking { parking, sent: false }
            }
            Settlement::Bury(burial) => Stage::Burying { burial, sent: false },
        };
    }

    fn beaten(&mut self, sent: Moment, report: &BeatReport, die: f64, out: &mut Vec<Output>) {
        let asked = self.beating.take().unwrap_or_default();
        self.link = Link::Up;
        self.unsettled = false;
        (self.parked, self.replays) = (report.parked, report.replays);
        self.counts.lost += report.trimmed;
        // A third of the lease, a little less by chance, so that consumers do not beat in step.
        self.next_beat = sent + (self.config.lease / 3).mul_f64(0.8 + 0.2 * die);
        for entry in &report.lost {
            self.lose(*entry, sent, out);
        }
        for entry in asked {
            if let Some(held) = self.hand.get_mut(entry).filter(|held| held.since <= sent) {
                held.leased_until = sent + self.config.lease;
            }
        }
        if !self.stopping {
            self.suspected(&report.suspects);
        }
    }

    /// Where suspects are due. The one in hand or on its way is none by the server's account, and is to stay alone.
    fn suspected(&mut self, due: &[Source]) {
        let on_its_way = matches!(self.taking, Some((_, Pool::Suspect, _)));
        if !on_its_way && !self.hand.has_suspect() {
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

    /// Forgets an entry that the beat sent at `sent` found with somebody else, unless it came back since.
    pub(super) fn lose(&mut self, entry: EntryRef, sent: Moment, out: &mut Vec<Output>) {
        let Some(held) = self.hand.get_mut(entry).filter(|held| held.since <= sent) else {
            return;
        };
        if matches!(held.stage, Stage::Running { .. }) {
            out.push(Output::Cancel(entry));
        }
        self.hand.remove(entry);
    }

    fn acked(&mut self, entries: &[EntryRef], confirmed: u64) {
        self.acking = self.acking.saturating_sub(1);
        self.counts.unconfirmed += (entries.len() as u64).saturating_sub(confirmed);
        for entry in entries {
            if self.hand.get_mut(*entry).is_some() {
                self.counts.acknowledged += 1;
                self.hand.remove(*entry);
            }
        }
    }

    fn parked(&mut self, entry: EntryRef, settled: Settled, out: &mut Vec<Output>) {
        if settled == Settled::Trimmed {
            self.counts.lost += 1;
            out.push(Output::Trimmed(entry));
        }
        // Refused: it stays pending here with its lease, and is taken over when that ends.
        if settled == Settled::Done && entry.source == Source::Stream {
            self.parked += 1;
        }
        self.hand.remove(entry);
    }

    fn buried(&mut self, entry: EntryRef, settled: Settled) {
        let Some(held) = self.hand.get_mut(entry) else {
            return;
        };
        match (&held.stage, settled) {
            (Stage::Burying { burial, .. }, Settled::Refused) => {
                // With no attempt left whoever takes it buries it and calls no handler.
                let attempts = burial.attempts.max(self.config.max_attempts);
                let (id, delay) = (entry.id, self.config.backoff.max);
                let parking = Parking { id, attempts, delay, pool: Pool::Parked };
                held.stage = Stage::Parking { parking, sent: false };
            }
            (_, settled) => {
                self.counts.dead += u64::from(settled == Settled::Done);
                self.hand.remove(entry);
            }
        }
    }

    /// The grace is over: a call that is cut off counts as an attempt.
    fn cut_off(&mut self, now: Moment, die: f64, out: &mut Vec<Output>) {
        self.stopping = true;
        for entry in self.hand.in_handlers() {
            out.push(Output::Cancel(entry));
            self.handled(entry, Outcome::CutOff, now, die);
        }
    }

    /// Lets go of what the lease no longer covers.
    fn expire(&mut self, now: Moment, out: &mut Vec<Output>) {
        let before = self.hand.len();
        self.hand.retain(|entry, held| {
            let over = held.leased_until <= now;
            match held.stage {
                Stage::Waiting(_) => !over,
                Stage::Running { forgotten: false } if over => {
                    out.push(Output::Cancel(entry));
                    false
                }
                _ => true,
            }
        });
        self.unsettled |= self.hand.len() < before;
    }
}
