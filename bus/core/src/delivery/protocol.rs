//! Inputs and outputs of the state machine.

use std::sync::Arc;
use std::time::Duration;

use crate::event::RawEntry;
use crate::names::{DELAYED, EntryId, SUSPECT};

use super::{Delivery, Moment, Outcome};

/// Stream that an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// In the stream.
    Stream,
    /// Among the group's dead letters, to be replayed.
    DeadLetters,
}

/// An entry by its place: two streams may have entries of the same ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryRef {
    /// The stream it is in.
    pub source: Source,
    /// Its ID there.
    pub id: EntryId,
}

/// Waiting entries of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Entries that wait for another attempt.
    Delayed,
    /// Entries whose consumer vanished with them.
    Suspect,
}

impl Pool {
    /// Returns the reserved consumer that has the entries of the pool.
    #[must_use]
    pub fn consumer(self) -> &'static str {
        match self {
            Self::Delayed => DELAYED,
            Self::Suspect => SUSPECT,
        }
    }
}

/// An entry that was claimed from a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Which one.
    pub id: EntryId,
    /// The attempt that its next handler call is.
    pub attempt: u32,
    /// `None`: it was trimmed from the stream while it waited, and is gone.
    pub entry: Option<RawEntry>,
}

/// The group's oldest entry that is not done, where the order is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum NextInOrder {
    /// This one; the consumer holds it from now on.
    Entry {
        /// From a pool; `None`: never delivered before, or mine already.
        pool: Option<Pool>,
        /// With its attempt.
        claimed: Claimed,
    },
    /// It is not due, or another consumer has it: ask again after this.
    Wait(Duration),
    /// There is none; the last that was delivered.
    Empty(EntryId),
}

/// Reply to a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatReport {
    /// Of the entries in flight: those that another consumer holds by now.
    pub lost: Vec<EntryRef>,
    /// Entries just taken over from consumers that vanished.
    pub moved: u64,
    /// Entries of such consumers that were trimmed from the stream before that.
    pub trimmed: u64,
    /// Sources in which entries of vanished consumers are due.
    pub suspects: Vec<Source>,
    /// Entries of the stream that wait for their time in the group.
    pub delayed: u64,
    /// Dead letters that wait to be replayed to the group.
    pub replays: u64,
}

/// Result for an entry that was to be delayed or dead-lettered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// As asked.
    Done,
    /// Another consumer holds it, or it is not pending any more: forget it.
    NotMine,
    /// The server refused to write it (out of memory, wrong type, no right).
    Refused,
    /// It was trimmed from the stream meanwhile, and is gone.
    Trimmed,
}

/// Event that the state machine reacts to.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The connections are made; nothing is known of the group yet.
    Connected,
    /// A connection broke: the outstanding commands will not be answered, but for the read.
    Disconnected {
        /// `true` if the read is outstanding.
        reading: bool,
    },
    /// The group or the stream is missing; alike.
    NoGroup {
        /// `true` if the read is outstanding.
        reading: bool,
    },
    /// The outstanding read was answered, or failed and brought nothing.
    Read {
        /// Moment at which it was sent.
        sent: Moment,
        /// New entries, maybe none.
        entries: Vec<RawEntry>,
    },
    /// The outstanding claim was answered.
    Claimed {
        /// Moment at which it was sent.
        sent: Moment,
        /// From where.
        source: Source,
        /// From which of the two.
        pool: Pool,
        /// Claimed entries, maybe none.
        entries: Vec<Claimed>,
    },
    /// [`Output::Next`] was answered.
    Next {
        /// Moment at which it was sent.
        sent: Moment,
        /// The acknowledged entry, and `true` if it was still mine.
        done: Option<(EntryId, bool)>,
        /// The next entry; `None`: the acknowledged one was not mine, ask again.
        next: Option<NextInOrder>,
    },
    /// [`Output::WaitForEntry`] was answered: there may be something.
    Arrived,
    /// Handler calls ended: of which entries, and how.
    Handled(Vec<(EntryRef, Outcome)>),
    /// The outstanding heartbeat was answered.
    Heartbeat {
        /// Moment at which it was sent.
        sent: Moment,
        /// The reply.
        report: HeartbeatReport,
    },
    /// An acknowledgement was answered.
    Acked {
        /// Which.
        entries: Vec<EntryRef>,
        /// Number of them that were pending until then.
        confirmed: u64,
    },
    /// Delaying was answered, entry by entry.
    Delayed(Vec<(EntryRef, WriteResult)>),
    /// Dead-lettering was answered.
    DeadLettered(EntryRef, WriteResult),
    /// The name was removed from the group, or kept because something is pending.
    Left,
    /// The moment of [`Machine::due_at`](super::Machine::due_at) came.
    Tick,
    /// Read no more, finish, leave.
    Stop,
    /// Cut off the handlers that still run.
    GraceOver,
}

/// Command for the driver to carry out.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Read new entries, blocking; answered by [`Input::Read`].
    Read {
        /// At most this many.
        count: usize,
    },
    /// Claim waiting entries that are due; answered by [`Input::Claimed`].
    Claim {
        /// From where.
        source: Source,
        /// From which of the two.
        pool: Pool,
        /// At most this many.
        count: usize,
    },
    /// Acknowledge `done`, then get the oldest entry that is not; answered by [`Input::Next`].
    Next {
        /// The entry handled last.
        done: Option<EntryId>,
    },
    /// Wait for an entry after this one without reading it; answered by [`Input::Arrived`].
    WaitForEntry {
        /// The last that was delivered.
        after: EntryId,
    },
    /// Call the handler; answered by [`Input::Handled`].
    Start(EntryRef, Arc<Delivery>),
    /// Drop the handler call for this entry; it is not answered.
    Cancel(EntryRef),
    /// Acknowledge; answered by [`Input::Acked`]. Replays are removed from the dead letters with it.
    Ack {
        /// Which; all of one source.
        entries: Vec<EntryRef>,
        /// Only those that still belong to this consumer: their lease is over.
        checked: bool,
    },
    /// Delay entries of one source, all in one pool; answered by [`Input::Delayed`].
    Delay(Source, Vec<DelayRequest>),
    /// Store as a dead letter and acknowledge; answered by [`Input::DeadLettered`].
    DeadLetter(DeadLetter),
    /// Renew the leases and read what waits in the group; answered by [`Input::Heartbeat`].
    Heartbeat {
        /// Entries in flight.
        entries: Vec<EntryRef>,
        /// Sources to search for entries of vanished consumers.
        search: Vec<Source>,
        /// The counts to publish.
        counts: Counts,
    },
    /// Remove the name from the group and keep its counts; answered by [`Input::Left`].
    Leave(Counts),
    /// Log that this entry was trimmed from the stream before it was done.
    Trimmed(EntryRef),
    /// Nothing is left to do: the consumer has stopped.
    Stopped,
}

/// An entry to delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayRequest {
    /// Which.
    pub id: EntryId,
    /// Handler calls begun so far.
    pub attempts: u32,
    /// Due after this long, at most [`DAY`](super::DAY).
    pub delay: Duration,
    /// Target: a suspect that was not begun stays one.
    pub pool: Pool,
}

/// An entry to store as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which. A replay that failed becomes a new dead letter in the old one's place.
    pub entry: EntryRef,
    /// Handler calls begun so far.
    pub attempts: u32,
    /// A fixed word: `unreadable`, `rejected` (the handler said so), `exhausted` (no attempt is left), `crashed` (its
    /// consumers vanished with it).
    pub reason: &'static str,
    /// For people; no payload.
    pub error: String,
}

/// Counts of a consumer since its start; for people and metrics, nothing is decided by them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries read or claimed.
    pub received: u64,
    /// Entries acknowledged after their handler was done.
    pub acknowledged: u64,
    /// Of all acknowledgements: those of entries that were not pending any more, because their group was lost or
    /// another consumer had settled them.
    pub unconfirmed: u64,
    /// Attempts that failed and will be repeated.
    pub retried: u64,
    /// Dead letters stored, or dropped where none are kept.
    pub dead: u64,
    /// Entries of unwanted types, acknowledged unseen.
    pub skipped: u64,
    /// Entries that were trimmed from the stream before they were done.
    pub lost: u64,
    /// Entries in flight now.
    pub in_flight: u64,
}
