//! What becomes of each event: a pure state machine between the commands' replies and the next commands.
//!
//! [`Machine::on`] takes one [`Input`] and answers with [`Output`]s, which the subscriber carries out. The pending
//! list of the group keeps everything that must survive: who has an entry in hand, since when, how many handler
//! calls were begun (the delivery count), and when a failed one is due again. An entry that waits belongs to the
//! consumer [`PARKED`](crate::names::PARKED) with an idle time that reaches [`DAY`] exactly when it is due; one whose
//! consumer vanished belongs to [`SUSPECT`](crate::names::SUSPECT) and is run alone, because it may have killed it.
//!
//! Promises, each with a test: an entry is acknowledged only after its handler answered [`Answer::Done`], or once it
//! is stored as a dead letter, or if its type is not wanted; nothing starts or goes on past its lease; a crash at any
//! point leads to a second delivery, never to a loss.

mod hand;
mod machine;
mod next;
mod settle;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::event::{RawEntry, StreamEvent};
use crate::names::{EntryId, GroupName, StreamKey};

pub use machine::Machine;

/// The idle time at which a parked entry is due. Delays go up to this long.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// With this many entries parked in the group, reading pauses.
pub const MAX_PARKED: u64 = 10_000;

/// A moment on the process's monotonic clock, counted from its start.
pub type Moment = Duration;

/// How events are handed to the handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// Ends one handler call; above 0 s, up to 1 h. Default 30 s.
    pub timeout: Duration,
    /// Handler calls at once, from 1. Default 8.
    pub concurrency: usize,
    /// Entries a read, 1 to 1000. Default 16. Never more than `concurrency + batch_size` are in hand.
    pub batch_size: usize,
    /// How long an entry stays with a consumer that went silent, 5 s to 1 h. Default 30 s.
    pub lease: Duration,
    /// When a failed event is tried again.
    pub backoff: Backoff,
    /// How long a shutdown may take before handlers are cut off. Default `timeout` + 5 s.
    pub grace: Duration,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            concurrency: 8,
            batch_size: 16,
            lease: Duration::from_secs(30),
            backoff: Backoff::default(),
            grace: Duration::from_secs(35),
        }
    }
}

/// One handler call: an event, and which attempt at it this is.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The event.
    pub event: StreamEvent,
    /// From 1: handler calls begun for this event in this group, this one included.
    pub attempt: u32,
    /// Where it stands.
    pub stream: StreamKey,
    /// For whom.
    pub group: GroupName,
}

/// What a handler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Handled: acknowledge it.
    Done,
    /// Failed for now: try again after the backoff, or after `after` (at most 24 h) if the handler knows better.
    Retry {
        /// Instead of the backoff.
        after: Option<Duration>,
        /// For people; no payload.
        reason: String,
    },
    /// Will never succeed: store it as a dead letter.
    Dead {
        /// For people; no payload.
        reason: String,
    },
}

/// How a handler call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Answered(Answer),
    /// Its time limit came first.
    TimedOut,
    /// It panicked.
    Panicked,
}

/// Whose waiting entries to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Those that wait for their time.
    Parked,
    /// Those whose consumer vanished.
    Suspect,
}

/// An entry that was taken from a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which one.
    pub id: EntryId,
    /// The attempt that its next handler call is.
    pub attempt: u32,
    /// `None`: it was trimmed from the stream while it waited, and is gone.
    pub entry: Option<RawEntry>,
}

/// What a beat told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BeatReport {
    /// Of the entries in hand: those that belong to somebody else by now.
    pub lost: Vec<EntryId>,
    /// Entries taken from consumers that vanished, just now.
    pub moved: u64,
    /// Entries of vanished consumers that are due: 0, or 1 for any number.
    pub suspects: u64,
    /// Entries that wait for their time in the group.
    pub parked: u64,
}

/// What happened to an entry that was to be parked or buried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// As asked.
    Done,
    /// It belongs to another consumer, or to nobody: forget it.
    NotMine,
    /// The server refused to write it (out of memory, wrong type, no right).
    Refused,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The connections stand; the group was not looked at yet.
    Connected,
    /// A connection broke: no outstanding command will be answered.
    Disconnected,
    /// The group or the stream is missing.
    NoGroup,
    /// The outstanding read was answered.
    Read {
        /// When it was sent.
        sent: Moment,
        /// New entries, maybe none.
        entries: Vec<RawEntry>,
    },
    /// The outstanding take was answered.
    Taken {
        /// When it was sent.
        sent: Moment,
        /// From where.
        pool: Pool,
        /// What it brought, maybe nothing.
        entries: Vec<Taken>,
    },
    /// Handler calls ended: of which entries, and how.
    Handled(Vec<(EntryId, Outcome)>),
    /// The outstanding beat was answered.
    Beaten {
        /// When it was sent.
        sent: Moment,
        /// What it told.
        report: BeatReport,
    },
    /// An acknowledgement was answered.
    Acked(Vec<EntryId>),
    /// Parking was answered, entry by entry.
    Parked(Vec<(EntryId, Settled)>),
    /// Dead-lettering was answered.
    Buried(EntryId, Settled),
    /// The name was removed from the group, or kept because something is pending.
    Left,
    /// The moment of [`Machine::wake_at`] came.
    Tick,
    /// Read no more, finish, leave.
    Stop,
    /// Cut off the handlers that still run.
    GraceOver,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Read new entries, blocking; answered by [`Input::Read`].
    Read {
        /// At most this many.
        count: usize,
    },
    /// Take waiting entries that are due; answered by [`Input::Taken`].
    Take {
        /// From where.
        pool: Pool,
        /// At most this many.
        count: usize,
    },
    /// Call the handler; answered by [`Input::Handled`].
    Start(Arc<Delivery>),
    /// Drop the handler call for this entry; it is not answered.
    Cancel(EntryId),
    /// Acknowledge; answered by [`Input::Acked`].
    Ack {
        /// Which.
        ids: Vec<EntryId>,
        /// Only those that still belong to this consumer: their lease is over.
        checked: bool,
    },
    /// Have entries wait; answered by [`Input::Parked`].
    Park(Vec<Parking>),
    /// Store as a dead letter and acknowledge; answered by [`Input::Buried`].
    Bury(Burial),
    /// Renew the leases and look around; answered by [`Input::Beaten`].
    Beat {
        /// What is in hand.
        ids: Vec<EntryId>,
        /// Whether to look for entries of consumers that vanished.
        look: bool,
        /// The counts to publish.
        counts: Counts,
    },
    /// Remove the name from the group and keep its counts; answered by [`Input::Left`].
    Leave(Counts),
    /// Nothing is left to do: the consumer has stopped.
    Stopped,
}

/// An entry to park.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parking {
    /// Which.
    pub id: EntryId,
    /// Handler calls begun so far.
    pub attempts: u32,
    /// Due after this long, at most [`DAY`].
    pub delay: Duration,
}

/// An entry to store as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burial {
    /// Which.
    pub id: EntryId,
    /// Handler calls begun so far.
    pub attempts: u32,
    /// A fixed word: `unreadable`, `rejected`.
    pub reason: &'static str,
    /// For people; no payload.
    pub error: String,
}

/// What a consumer did since its start; for people and metrics, nothing is decided by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries read or taken.
    pub received: u64,
    /// Entries acknowledged after their handler was done.
    pub acknowledged: u64,
    /// Attempts that failed and will be repeated.
    pub retried: u64,
    /// Dead letters stored.
    pub dead: u64,
    /// Entries of unwanted types, acknowledged unseen.
    pub skipped: u64,
    /// Entries that were trimmed from the stream while they waited.
    pub lost: u64,
    /// In hand now.
    pub in_flight: u64,
}
