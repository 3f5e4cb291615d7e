//! Delivery of events: a pure state machine between the commands' replies and the next commands.
//!
//! [`Machine::on`] takes one [`Input`] and answers with [`Output`]s, which the subscriber carries out. The pending
//! list of the group keeps everything that must survive: who has an entry in flight, since when, how many handler
//! calls were begun (the delivery count), and when a failed one is due again. An entry that waits belongs to the
//! consumer [`DELAYED`](crate::names::DELAYED) with an idle time that reaches [`DAY`] exactly when it is due; one whose
//! consumer vanished belongs to [`SUSPECT`](crate::names::SUSPECT) and is run alone, because it may have killed it.
//!
//! Guarantees, each with a test: an entry is acknowledged only after its handler answered [`Answer::Done`], or once it
//! is stored as a dead letter, or if its type is not wanted; nothing starts or goes on past its lease; a crash at any
//! point leads to a second delivery, never to a loss.
//!
//! With [`DeliveryOrder::Stream`] the oldest pending entry is the lock: one entry at a time, each
//! settled before the next is begun, whichever consumer has it.

pub mod config;
mod events;
mod in_flight;
mod machine;
mod mode;
mod ordered;
mod outstanding;
mod proceed;
mod protocol;
mod receive;
mod settle;
#[cfg(test)]
mod tests;
mod unordered;

use std::time::Duration;

use crate::event::StreamEvent;
use crate::names::{GroupName, StreamKey};

pub use crate::time::Moment;
pub use config::{DeliveryConfig, DeliveryOrder};
pub use machine::Machine;
pub use protocol::{
    Claimed, Counts, DeadLetter, DelayRequest, EntryRef, HeartbeatReport, Input, NextInOrder,
    Output, Pool, Source, WriteResult,
};

/// The idle time at which a delayed entry is due. Delays go up to this long.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// With this many entries delayed in the group, reading pauses.
pub const MAX_DELAYED: u64 = 10_000;

/// One handler call: an event, and which attempt at it this is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// The event.
    pub event: StreamEvent,
    /// From 1: handler calls begun for this event in this group, this one included. A replay starts anew.
    pub attempt: u32,
    /// The stream it was published to.
    pub stream: StreamKey,
    /// For whom.
    pub group: GroupName,
    /// `true` if it is a dead letter that is being replayed.
    pub replay: bool,
}

impl Delivery {
    /// Makes the delivery of an event that is no replay: for tests of a handler.
    #[must_use]
    pub fn new(event: StreamEvent, attempt: u32, stream: StreamKey, group: GroupName) -> Self {
        Self { event, attempt, stream, group, replay: false }
    }
}

/// Answer of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Handled: acknowledge it.
    Done,
    /// Failed for now: try again after the backoff, or after `after` (at most 24 h) if the handler knows better; after
    /// the last attempt a dead letter.
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

impl Answer {
    /// Failed for now: try again after the backoff. The reason is for people; no payload.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// Will never succeed: store it as a dead letter. The reason is for people; no payload.
    pub fn dead(reason: impl Into<String>) -> Self {
        Self::Dead { reason: reason.into() }
    }
}

/// End of a handler call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered.
    Answered(Answer),
    /// Its time limit came first.
    TimedOut,
    /// It panicked.
    Panicked,
    /// The end of a shutdown's grace came first.
    CutOff,
}
