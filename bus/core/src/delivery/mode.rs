//! Order of delivery: none, or the stream's.

use std::time::Duration;

use crate::names::EntryId;

use super::{Moment, Source};

/// Time between two claims of delayed entries, and so how exactly their times are kept.
pub(super) const CLAIM_EVERY: Duration = Duration::from_secs(1);

/// Order of delivery, with the state that only it needs.
#[derive(Debug)]
pub(super) enum Mode {
    Unordered(Unordered),
    Ordered(Ordered),
}

/// State of a consumer that keeps no order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unordered {
    /// Moment from which delayed entries of the stream may be claimed.
    pub next_claim: Moment,
    /// Source of the last claim, so that neither source starves the other.
    pub claimed_from: Source,
    /// Entries that are delayed in the group.
    pub delayed: u64,
}

impl Default for Unordered {
    fn default() -> Self {
        Self { next_claim: Moment::START, claimed_from: Source::Stream, delayed: 0 }
    }
}

impl Unordered {
    /// Returns the source from which to claim delayed entries now; the sources take turns if both are due.
    pub fn due(self, now: Moment, replays: Replays) -> Option<Source> {
        let replay_is_due = replays.count > 0 && now >= replays.next_claim;
        match (now >= self.next_claim, replay_is_due) {
            (true, false) => Some(Source::Stream),
            (false, true) => Some(Source::DeadLetters),
            (true, true) if self.claimed_from == Source::Stream => Some(Source::DeadLetters),
            (true, true) => Some(Source::Stream),
            (false, false) => None,
        }
    }
}

/// State of a consumer that keeps the stream's order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ordered {
    /// Moment from which the next entry may be asked for.
    pub next_fetch: Moment,
    /// The last delivered entry, if there is none after it.
    pub end: Option<EntryId>,
}

/// Dead letters that wait to be replayed to the group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Replays {
    pub count: u64,
    /// Moment from which the next one may be claimed.
    pub next_claim: Moment,
}
