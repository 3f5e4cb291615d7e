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

/// Stream and ID of an entry: two streams may have entries with the same ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryRef {
    /// Stream of the entry.
    pub source: Source,
    /// ID in that stream.
    pub id: EntryId,
}

/// Waiting entries of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Entries that wait for another attempt.
    Delayed,
    /// Entries whose consumer vanished while they were in flight.
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
    /// Entry ID.
    pub id: EntryId,
    /// The attempt that its next handler call is.
    pub attempt: u32,
    /// The entry; `None` if it was trimmed from the stream while it waited.
    pub entry: Option<RawEntry>,
}

/// Oldest unfinished entry of the group, in ordered delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum NextInOrder {
    /// The entry, which is now in flight at this consumer.
    Entry {
        /// Pool it was claimed from; `None` if it is new or was already this consumer's.
        pool: Option<Pool>,
        /// The entry with its attempt.
        claimed: Claimed,
    },
    /// The entry is not due, or another consumer has it: ask again after this time.
    Wait(Duration),
    /// No unfinished entry; the last entry that was delivered.
    Empty(EntryId),
}

/// Reply to a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatReport {
    /// Entries in flight that another consumer has claimed.
    pub lost: Vec<EntryRef>,
    /// Number of entries just claimed from consumers that vanished.
    pub moved: u64,
    /// Number of entries of such consumers that were already trimmed from the stream.
    pub trimmed: u64,
    /// Sources in which entries of vanished consumers are due.
    pub suspects: Vec<Source>,
    /// Number of delayed entries of the stream in the group.
    pub delayed: u64,
    /// Number of dead letters that wait to be replayed to the group.
    pub replays: u64,
}

/// Result for an entry that was to be delayed or dead-lettered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteResult {
    /// The entry was written.
    Done,
    /// Another consumer has the entry, or it is no longer pending: forget it.
    NotMine,
    /// The server refused the write (out of memory, wrong type, no permission).
    Refused,
    /// The entry was trimmed from the stream.
    Trimmed,
}

/// End of a connection that the size of a reply may have caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The connection was closed, or the reply refused.
    Closed,
    /// There was no reply in time.
    Late,
}

/// An entry that the server lists as pending at this consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingEntry {
    /// Entry ID.
    pub id: EntryId,
    /// Number of times it was delivered, at least 1.
    pub deliveries: u32,
}

/// Event that the state machine reacts to.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The connections are open; nothing is known about the group yet.
    Connected,
    /// A connection was closed: no outstanding command will be answered, except the read.
    Disconnected {
        /// `true` if the read is outstanding.
        reading: bool,
        /// Set if a reply that was too large or too slow may have been the cause.
        cut: Option<Cut>,
    },
    /// The group or the stream is missing; no outstanding command will be answered, except the read.
    NoGroup {
        /// `true` if the read is outstanding.
        reading: bool,
    },
    /// The outstanding read, sent on a connection before the present one, failed.
    ReadFailed,
    /// The outstanding read was answered.
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
        /// Stream of the entries.
        source: Source,
        /// Pool of the entries.
        pool: Pool,
        /// Claimed entries, maybe none.
        entries: Vec<Claimed>,
    },
    /// [`Output::Next`] was answered.
    Next {
        /// Moment at which it was sent.
        sent: Moment,
        /// The acknowledged entry, and `true` if it was still this consumer's.
        done: Option<(EntryId, bool)>,
        /// The next entry; `None` to ask again, because the acknowledged one was another consumer's.
        next: Option<NextInOrder>,
    },
    /// [`Output::ListPending`] was answered.
    Pending {
        /// Stream of the entries.
        source: Source,
        /// The entries that are pending at this consumer, the oldest first.
        entries: Vec<PendingEntry>,
    },
    /// [`Output::WaitForEntry`] was answered: there may be a new entry.
    Arrived,
    /// Handler calls ended: entries and outcomes.
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
        /// Acknowledged entries.
        entries: Vec<EntryRef>,
        /// Number of them that were pending until then.
        confirmed: u64,
    },
    /// Delaying was answered, entry by entry.
    Delayed(Vec<(EntryRef, WriteResult)>),
    /// Dead-lettering was answered.
    DeadLettered(EntryRef, WriteResult),
    /// The consumer was removed from the group, or left there because it has pending entries.
    Left,
    /// The moment of [`Machine::due_at`](super::Machine::due_at) came.
    Tick,
    /// Stop reading, finish, leave the group.
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
        /// Stream of the entries.
        source: Source,
        /// Pool of the entries.
        pool: Pool,
        /// At most this many.
        count: usize,
    },
    /// Acknowledge `done`, then get the oldest unfinished entry; answered by [`Input::Next`].
    Next {
        /// The entry handled last.
        done: Option<EntryId>,
    },
    /// List the entries that are pending at this consumer, the oldest first; answered by [`Input::Pending`].
    ListPending {
        /// Stream of the entries.
        source: Source,
        /// At most this many.
        count: usize,
    },
    /// Wait for an entry after this one without reading it; answered by [`Input::Arrived`].
    WaitForEntry {
        /// The last entry that was delivered.
        after: EntryId,
    },
    /// Call the handler; answered by [`Input::Handled`].
    Start(EntryRef, Arc<Delivery>),
    /// Drop the handler call for this entry; it is not answered.
    Cancel(EntryRef),
    /// Acknowledge; answered by [`Input::Acked`]. Replays are removed from the dead letters with it.
    Ack {
        /// Entries to acknowledge, all of one source.
        entries: Vec<EntryRef>,
        /// `true` to acknowledge only those that are still this consumer's, because their lease is over.
        checked: bool,
    },
    /// Delay entries of one source, all in one pool; answered by [`Input::Delayed`].
    Delay(Source, Vec<DelayRequest>),
    /// Store as a dead letter and acknowledge; answered by [`Input::DeadLettered`].
    DeadLetter(DeadLetter),
    /// Renew the leases and read the state of the group; answered by [`Input::Heartbeat`].
    Heartbeat {
        /// Entries in flight.
        entries: Vec<EntryRef>,
        /// Sources to search for entries of vanished consumers.
        search: Vec<Source>,
        /// The counts to publish.
        counts: Counts,
    },
    /// Remove the consumer from the group and keep its counts; answered by [`Input::Left`].
    Leave(Counts),
    /// Log that this entry was trimmed from the stream before it was done.
    Trimmed(EntryRef),
    /// Log that this entry cannot be fetched, although nothing else was asked for with it.
    Unfetchable(EntryRef),
    /// The consumer has stopped.
    Stopped,
}

/// An entry to delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayRequest {
    /// Entry ID.
    pub id: EntryId,
    /// Handler calls begun so far.
    pub attempts: u32,
    /// Delay until the entry is due, at most [`DAY`](super::DAY).
    pub delay: Duration,
    /// Target pool: a suspect that was not begun stays a suspect.
    pub pool: Pool,
}

/// An entry to store as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The entry. A replay that failed becomes a new dead letter, which replaces the old one.
    pub entry: EntryRef,
    /// Handler calls begun so far.
    pub attempts: u32,
    /// Fixed word: `unreadable`, `rejected` (the handler refused it), `exhausted` (no attempt is left), or `crashed` (its
    /// consumers vanished while it was in flight).
    pub reason: &'static str,
    /// Error text for people, without the payload.
    pub error: String,
}

/// Counts of a consumer since its start, and what it cannot fetch, for people and metrics; no decision depends on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries read or claimed.
    pub received: u64,
    /// Entries acknowledged after their handler was done.
    pub acknowledged: u64,
    /// Acknowledgements of entries that were no longer pending, because their group was lost or another consumer had
    /// settled them.
    pub unconfirmed: u64,
    /// Attempts that failed and will be repeated.
    pub retried: u64,
    /// Dead letters stored, or dropped if dead letters are disabled.
    pub dead: u64,
    /// Entries of types that are filtered out, acknowledged without a handler call.
    pub skipped: u64,
    /// Entries that were trimmed from the stream before they were done.
    pub lost: u64,
    /// Entries in flight now.
    pub in_flight: u64,
    /// Entries that cannot be fetched now, although nothing else was asked for with them; they stay pending.
    pub unfetchable: u64,
    /// The oldest of them that is in the stream.
    pub oldest_unfetchable: Option<EntryId>,
}
