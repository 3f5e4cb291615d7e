//! Replies that did not arrive, and entries that no reply can carry.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{EntryRef, Moment, Pool, Source};

/// Number of times that an entry has to fail alone until it counts as unfetchable and is fetched less often.
const TIMES: u32 = 3;
/// Time beyond its next attempt for which an entry counts as unfetchable, if that attempt never comes: another consumer
/// may have handled it.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// A command for entries whose reply did not arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostReply {
    pub source: Source,
    /// Pool of a claim.
    pub pool: Option<Pool>,
    /// Number of entries that it might have returned.
    pub count: usize,
    /// `true` if the reply was for one entry, and may have been too large.
    pub is_alone: bool,
}

/// Entries that could not be fetched alone.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<EntryRef, Failure>);

#[derive(Debug)]
struct Failure {
    times: u32,
    known_until: Moment,
}

impl Failures {
    /// Records that an entry could not be fetched alone. Returns the wait before it is fetched again, by the number of the
    /// retry, if it counts as unfetchable.
    pub fn record(
        &mut self,
        entry: EntryRef,
        now: Moment,
        wait: impl FnOnce(u32) -> Duration,
    ) -> Option<Duration> {
        let failure = self.0.entry(entry).or_insert(Failure { times: 0, known_until: now });
        failure.times = failure.times.saturating_add(1);
        let wait = (failure.times >= TIMES).then(|| wait(failure.times - TIMES + 1));
        failure.known_until = now + wait.unwrap_or_default() * 2 + KNOWN_FOR;
        wait
    }

    /// Forgets an entry that arrived, or that is gone.
    pub fn forget(&mut self, entry: EntryRef) {
        self.0.remove(&entry);
    }

    /// Forgets the entries that were not tried again for long.
    pub fn expire(&mut self, now: Moment) {
        self.0.retain(|_, failure| failure.known_until > now);
    }

    /// Returns the entries that cannot be fetched, in order.
    pub fn unfetchable(&self) -> impl Iterator<Item = EntryRef> {
        let failures = self.0.iter().filter(|(_, failure)| failure.times >= TIMES);
        failures.map(|(entry, _)| *entry)
    }
}
