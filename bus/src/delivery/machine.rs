//! The state machine itself.

use std::sync::Arc;

use crate::event::{RawEntry, StreamEvent, TypeFilter};
use crate::names::{EntryId, GroupName, StreamKey};

use super::hand::{Hand, Held, Stage};
use super::settle::{Settlement, settle};
use super::{
    BeatReport, Burial, Counts, Delivery, DeliveryConfig, Input, Moment, Outcome, Output, Parking,
    Pool, Settled, Taken,
};

/// How often parked entries are looked for; their times are kept about this exactly.
const TAKE_EVERY: Moment = Moment::from_secs(1);

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

/// Running entries of vanished consumers, which must be alone in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    No,
    /// Finishing what is in hand, then taking one.
    Wanted,
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
    pub(super) reading: Option<usize>,
    pub(super) taking: Option<(Pool, usize)>,
    pub(super) acking: usize,
    /// What the outstanding beat asked about.
    pub(super) beating: Option<Vec<EntryId>>,
    pub(super) next_beat: Moment,
    pub(super) next_take: Moment,
    pub(super) ack_since: Option<Moment>,
    pub(super) skipped: Vec<EntryId>,
    pub(super) parked: u64,
    pub(super) alone: Alone,
    pub(super) stopping: bool,
    pub(super) leaving: bool,
    /// Entries were let go of that nothing was said about to the server: it still counts them as ours.
    pub(super) unsettled: bool,
    pub(super) counts: Counts,
}

impl Machine {
    /// A consumer with nothing in hand and no connection.
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
            reading: None,
            taking: None,
            acking: 0,
            beating: None,
            next_beat: Moment::ZERO,
            next_take: Moment::ZERO,
            ack_since: None,
            skipped: Vec::new(),
            parked: 0,
            alone: Alone::No,
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
            Input::Disconnected => self.disconnected(),
            Input::NoGroup => self.no_group(),
            Input::Read { sent, entries } => self.read(sent, entries, now),
            Input::Taken { sent, pool, entries } => self.taken(sent, pool, entries, now),
            Input::Handled(calls) => {
                calls.into_iter().for_each(|(id, outcome)| self.handled(id, outcome, now, die));
            }
            Input::Beaten { sent, report } => self.beaten(sent, &report, die, &mut out),
            Input::Acked(ids) => self.acked(&ids),
            Input::Parked(settled) => settled.into_iter().for_each(|(id, s)| self.parked(id, s)),
            Input::Buried(id, settled) => self.buried(id, settled),
            Input::Left => return vec![Output::Stopped],
            Input::Tick => {}
            Input::Stop => self.stopping = true,
            Input::GraceOver => self.cut_off(die, &mut out),
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

    fn connected(&mut self, now: Moment) {
        self.link = Link::Flushing;
        self.linked_at = now;
        self.next_take = now;
    }

    fn disconnected(&mut self) {
        self.link = Link::Down;
        (self.reading, self.taking, self.acking, self.beating) = (None, None, 0, None);
        (self.leaving, self.alone) = (false, Alone::No);
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
    fn no_group(&mut self) {
        self.disconnected();
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
        self.reading = None;
        for entry in entries {
            if self.receive(entry, sent, 1, None) {
                self.ack_since.get_or_insert(now);
            }
        }
    }

    fn taken(&mut self, sent: Moment, pool: Pool, entries: Vec<Taken>, now: Moment) {
        let asked = self.taking.take().map_or(0, |(_, count)| count);
        match pool {
            Pool::Parked if entries.len() < asked => self.next_take = now + TAKE_EVERY,
            Pool::Parked => self.next_take = now,
            Pool::Suspect if entries.is_empty() => self.alone = Alone::No,
            Pool::Suspect => {}
        }
        for Taken { id, attempt, entry } in entries {
            match entry {
                Some(entry) => {
                    if self.receive(entry, sent, attempt, Some(pool)) {
                        self.ack_since.get_or_insert(now);
                    }
                }
                None => {
                    self.counts.lost += 1;
                    tracing::warn!(stream = %self.stream, group = %self.group, entry = %id,
                        "an entry was trimmed from the stream while it waited for another attempt");
                }
            }
        }
    }

    /// Takes an entry into the hand; `true` if it is of an unwanted type, and to be acknowledged instead.
    fn receive(&mut self, entry: RawEntry, sent: Moment, attempt: u32, pool: Option<Pool>) -> bool {
        let id = entry.id;
        let leased_until = sent + self.config.lease;
        if let Some(held) = self.hand.get_mut(id) {
            // Delivered again while its handler still runs, after the group was lost: the one call serves both.
            held.leased_until = leased_until;
            held.attempt = held.attempt.max(attempt);
            if let Stage::Running { forgotten } = &mut held.stage {
                *forgotten = false;
            }
            return false;
        }
        self.counts.received += 1;
        if entry.event_type().is_some_and(|event_type| !self.types.matches(event_type)) {
            self.counts.skipped += 1;
            self.skipped.push(id);
            return true;
        }
        let stage = match StreamEvent::decode(&self.stream, entry) {
            Ok(event) => {
                let (stream, group) = (self.stream.clone(), self.group.clone());
                Stage::Waiting(Arc::new(Delivery { event, attempt, stream, group }))
            }
            Err(error) => {
                let error = error.to_string();
                let burial = Burial { id, attempts: attempt - 1, reason: "unreadable", error };
                Stage::Burying { burial, sent: false }
            }
        };
        self.hand.insert(id, Held { pool, since: sent, leased_until, attempt, stage });
        false
    }

    fn handled(&mut self, id: EntryId, outcome: Outcome, now: Moment, die: f64) {
        let Some(held) = self.hand.get_mut(id) else {
            return;
        };
        if matches!(held.stage, Stage::Running { forgotten: true }) {
            self.hand.remove(id);
            return;
        }
        held.stage = match settle(id, held.attempt, outcome, &self.config.backoff, die) {
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
        self.parked = report.parked;
        // A third of the lease, a little less by chance, so that consumers do not beat in step.
        self.next_beat = sent + (self.config.lease / 3).mul_f64(0.8 + 0.2 * die);
        for id in &report.lost {
            self.lose(*id, sent, out);
        }
        for id in asked {
            if let Some(held) = self.hand.get_mut(id).filter(|held| held.since <= sent) {
                held.leased_until = sent + self.config.lease;
            }
        }
        if report.suspects > 0 && !self.stopping {
            self.alone = Alone::Wanted;
        }
    }

    /// Forgets an entry that the beat sent at `sent` found with somebody else, unless it came back since.
    fn lose(&mut self, id: EntryId, sent: Moment, out: &mut Vec<Output>) {
        let Some(held) = self.hand.get_mut(id).filter(|held| held.since <= sent) else {
            return;
        };
        if matches!(held.stage, Stage::Running { .. }) {
            out.push(Output::Cancel(id));
        }
        self.hand.remove(id);
    }

    fn acked(&mut self, ids: &[EntryId]) {
        self.acking = self.acking.saturating_sub(1);
        for id in ids {
            if self.hand.get_mut(*id).is_some() {
                self.counts.acknowledged += 1;
                self.hand.remove(*id);
            }
        }
    }

    fn parked(&mut self, id: EntryId, settled: Settled) {
        // Refused: it stays pending here with its lease, and is taken over when that ends.
        if settled == Settled::Done {
            self.parked += 1;
        }
        self.hand.remove(id);
    }

    fn buried(&mut self, id: EntryId, settled: Settled) {
        let Some(held) = self.hand.get_mut(id) else {
            return;
        };
        match (&held.stage, settled) {
            (Stage::Burying { burial, .. }, Settled::Refused) => {
                let delay = self.config.backoff.max;
                let parking = Parking { id, attempts: burial.attempts, delay };
                held.stage = Stage::Parking { parking, sent: false };
            }
            (_, settled) => {
                self.counts.dead += u64::from(settled == Settled::Done);
                self.hand.remove(id);
            }
        }
    }

    /// The grace is over: a call that is cut off counts as an attempt.
    fn cut_off(&mut self, die: f64, out: &mut Vec<Output>) {
        self.stopping = true;
        let backoff = self.config.backoff;
        self.hand.retain(|id, held| {
            let Stage::Running { forgotten } = held.stage else {
                return true;
            };
            out.push(Output::Cancel(id));
            let delay = backoff.delay(held.attempt, die);
            let parking = Parking { id, attempts: held.attempt, delay };
            held.stage = Stage::Parking { parking, sent: false };
            !forgotten
        });
    }

    /// Lets go of what the lease no longer covers.
    fn expire(&mut self, now: Moment, out: &mut Vec<Output>) {
        let before = self.hand.len();
        self.hand.retain(|id, held| {
            let over = held.leased_until <= now;
            match held.stage {
                Stage::Waiting(_) => !over,
                Stage::Running { forgotten: false } if over => {
                    out.push(Output::Cancel(id));
                    false
                }
                _ => true,
            }
        });
        self.unsettled |= self.hand.len() < before;
    }
}
