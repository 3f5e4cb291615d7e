//! Delivery of events: a pure state machine between the commands' replies and the next commands.
//!
//! [`Machine::on`] takes one [`Input`] and answers with [`Output`]s, which the subscriber carries out. The pending
//! list of the group keeps everything that must survive: who has an entry in flight, since when, how many handler
//! calls were begun (the delivery count), and when a failed one is due again. An entry that waits belongs to the
//! consumer [`DELAYED`](crate::names::DELAYED) with an idle time that reaches [`DAY`] exactly when it is due; one whose
//! consumer vanished belongs to [`SUSPECT`](crate::names::SUSPECT) and is run alone, because it may have crashed that consumer.
//!
//! Guarantees, each with a test: an entry is acknowledged only after its handler answered [`Answer::Done`], or once it
//! is stored as a dead letter, or if its type is filtered out; no handler call starts or continues past its lease; a crash
//! at any point leads to a second delivery, never to a loss.
//!
//! With [`DeliveryOrder::Stream`] the oldest pending entry is the lock: one entry at a time, each
//! settled before the next is begun, whichever consumer has it.

pub mod config;
mod events;
mod fetch;
mod in_flight;
mod lost;
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
mod unreceived;

use std::time::Duration;

use crate::event::StreamEvent;
use crate::names::{GroupName, StreamKey};

pub use crate::time::Moment;
pub use config::{DeliveryConfig, DeliveryOrder};
pub use machine::Machine;
pub use protocol::{
    Claimed, Counts, Cut, DeadLetter, DelayRequest, EntryRef, HeartbeatReport, Input, NextInOrder,
    Output, PendingEntry, Pool, Source, WriteResult,
};

/// Idle time at which a delayed entry is due, and the maximum delay.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Number of delayed entries in the group at which reading pauses.
pub const MAX_DELAYED: u64 = 10_000;

/// One handler call: an event, and the number of the attempt.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// The event.
    pub event: StreamEvent,
    /// Number of handler calls begun for this event in this group, this one included. A replay starts from 1 again.
    pub attempt: u32,
    /// Stream of the event.
    pub stream: StreamKey,
    /// Consumer group that the event is delivered to.
    pub group: GroupName,
    /// `true` if the event is a dead letter that is being replayed.
    pub replay: bool,
}

impl Delivery {
    /// Creates the delivery of an event that is not a replay, for tests of a handler.
    #[must_use]
    pub fn new(event: StreamEvent, attempt: u32, stream: StreamKey, group: GroupName) -> Self {
        Self { event, attempt, stream, group, replay: false }
    }
}

/// Answer of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The event is handled and will be acknowledged.
    Done,
    /// The attempt failed. The event is retried after the backoff, or after `after` if that is longer; after the last
    /// attempt it becomes a dead letter.
    Retry {
        /// Minimum wait until the retry, at most 24 h.
        after: Option<Duration>,
        /// Reason for logs and for the dead letter; without the payload.
        reason: String,
    },
    /// The event can never be handled and becomes a dead letter.
    Dead {
        /// Reason for logs and for the dead letter; without the payload.
        reason: String,
    },
}

impl Answer {
    /// Returns an answer that retries the event after the backoff. `reason` is logged and must not contain the payload.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// Returns an answer that stores the event as a dead letter. `reason` is stored with it and must not contain the payload.
    pub fn dead(reason: impl Into<String>) -> Self {
        Self::Dead { reason: reason.into() }
    }
}

/// End of a handler call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The handler answered.
    Answered(Answer),
    /// The time limit was exceeded.
    TimedOut,
    /// The handler panicked.
    Panicked,
    /// The grace period of a shutdown ended first.
    CutOff,
}
