//! The state machine itself.

use std::time::Duration;

use crate::event::TypeFilter;
use crate::names::{GroupName, StreamKey};

use super::fetch::Fetch;
use super::in_flight::InFlight;
use super::lost::{Failures, LostReply};
use super::mode::{Mode, Ordered, Replays, Unordered};
use super::outstanding::Outstanding;
use super::{Counts, DeliveryConfig, DeliveryOrder, EntryRef, Input, Moment, Output, Pool, Source};

/// Spreads one random number over many calls: the fraction whose multiples repeat least.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// State of the present connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionState {
    Down,
    /// Entries that finished during the outage are being acknowledged.
    Flushing,
    /// The first heartbeat reports which entries are still ours.
    Heartbeating,
    Up,
}

/// Origin of entries, and the moment at which the command that brought them was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub source: Source,
    pub pool: Option<Pool>,
    pub sent: Moment,
}

/// One consumer's view of its group: the entries in flight, and the outstanding commands.
#[derive(Debug)]
pub struct Machine {
    pub(super) stream: StreamKey,
    pub(super) group: GroupName,
    pub(super) types: TypeFilter,
    pub(super) config: DeliveryConfig,
    pub(super) mode: Mode,
    pub(super) in_flight: InFlight,
    pub(super) outstanding: Outstanding,
    pub(super) fetch: Fetch,
    /// Commands whose replies did not arrive: their entries may be pending here without being known.
    pub(super) lost: Vec<LostReply>,
    pub(super) failures: Failures,
    pub(super) connection: ConnectionState,
    pub(super) connected_at: Moment,
    pub(super) next_heartbeat: Moment,
    /// Moment since which a finished entry waits for its acknowledgement.
    pub(super) ack_since: Option<Moment>,
    /// Entries of unwanted types, each with the end of its lease.
    pub(super) skipped: Vec<(EntryRef, Moment)>,
    pub(super) replays: Replays,
    /// Sources in which entries of vanished consumers are due. As long as there is one nothing is read: the entries in
    /// flight are finished, then each suspect runs alone in the process.
    pub(super) suspects: Vec<Source>,
    pub(super) stopping: bool,
    /// Some entries were dropped locally without telling the server; they are still pending under our name.
    pub(super) dropped: bool,
    pub(super) counts: Counts,
}

impl Machine {
    /// Creates a consumer with nothing in flight and no connection. `config` is [checked](DeliveryConfig::check).
    #[must_use]
    pub fn new(
        stream: StreamKey,
        group: GroupName,
        types: TypeFilter,
        config: DeliveryConfig,
    ) -> Self {
        let mode = match config.ordering {
            DeliveryOrder::None => Mode::Unordered(Unordered::default()),
            DeliveryOrder::Stream => Mode::Ordered(Ordered::default()),
        };
        Self {
            stream,
            group,
            types,
            fetch: Fetch::new(&config),
            config,
            mode,
            in_flight: InFlight::default(),
            outstanding: Outstanding::default(),
            lost: Vec::new(),
            failures: Failures::default(),
            connection: ConnectionState::Down,
            connected_at: Moment::START,
            next_heartbeat: Moment::START,
            ack_since: None,
            skipped: Vec::new(),
            replays: Replays::default(),
            suspects: Vec::new(),
            stopping: false,
            dropped: false,
            counts: Counts::default(),
        }
    }

    /// Takes an input and returns the commands to carry out. `random` is uniform in `0.0..1.0`, new for each call.
    pub fn on(&mut self, input: Input, now: Moment, random: f64) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Connected => self.on_connected(now),
            Input::Disconnected { reading, cut } => self.on_disconnected(reading, cut),
            Input::NoGroup { reading } => self.on_no_group(reading),
            Input::ReadFailed => self.on_read_failed(),
            Input::Read { sent, entries } => self.on_read(sent, entries, now),
            Input::Claimed { sent, source, pool, entries } => {
                self.on_claimed(Origin { source, pool: Some(pool), sent }, entries, now, &mut out);
            }
            Input::Next { sent, done, next } => {
                if let Some((id, mine)) = done {
                    self.on_acked_with_next(id, mine);
                }
                self.on_next(sent, next, now, &mut out);
            }
            Input::Pending { source, entries } => {
                self.on_pending((source, &entries), now, random, &mut out);
            }
            Input::Arrived => self.on_arrived(),
            Input::Handled(calls) => {
                for ((entry, outcome), index) in calls.into_iter().zip(0_u32..) {
                    let random = (random + GOLDEN * f64::from(index)).fract();
                    self.on_handled(entry, outcome, now, random);
                }
            }
            Input::Heartbeat { sent, report } => self.on_heartbeat(sent, &report, random, &mut out),
            Input::Acked { entries, confirmed } => self.on_acked(&entries, confirmed),
            Input::Delayed(results) => {
                results.into_iter().for_each(|(entry, how)| self.on_delayed(entry, how, &mut out));
            }
            Input::DeadLettered(entry, result) => self.on_dead_lettered(entry, result),
            Input::Left => return vec![Output::Stopped],
            Input::Tick => {}
            Input::Stop => self.stopping = true,
            Input::GraceOver => self.on_grace_over(now, random, &mut out),
        }
        self.expire(now, &mut out);
        self.proceed(now, &mut out);
        out
    }

    /// Returns the counts since the start, and the number of entries in flight.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut unfetchable = self.failures.unfetchable();
        let oldest_unfetchable = unfetchable.next();
        Counts {
            in_flight: self.in_flight.len() as u64,
            unfetchable: u64::from(oldest_unfetchable.is_some()) + unfetchable.count() as u64,
            oldest_unfetchable: oldest_unfetchable
                .filter(|entry| entry.source == Source::Stream)
                .map(|entry| entry.id),
            ..self.counts
        }
    }

    /// Returns the time limit of replies: it grows while they do not arrive in time.
    #[must_use]
    pub fn reply_limit(&self) -> Duration {
        self.fetch.pace.limit()
    }

    pub(super) fn is_ordered(&self) -> bool {
        matches!(self.mode, Mode::Ordered(_))
    }
}
