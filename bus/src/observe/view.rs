//! Snapshot, and the view of one group in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eventbus_core::facts::{ConsumerCounts, ConsumerFacts, GroupFacts, ServerInfo, StreamFacts};
use eventbus_core::lag::Lag;

/// Snapshot of a stream and its groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The server that answered; empty fields without permission for INFO.
    pub server: ServerInfo,
    /// The stream and all its groups.
    pub stream: StreamFacts,
    /// The lag of every group.
    pub lags: BTreeMap<String, Lag>,
}

/// One group in a [`Snapshot`], or its absence there. Clones share the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    snapshot: Arc<Snapshot>,
    group: String,
}

impl GroupView {
    /// Creates the view of a group by its name, as in the keys of [`StreamFacts::groups`].
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, group: impl Into<String>) -> Self {
        Self { snapshot, group: group.into() }
    }

    /// Returns the group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.group
    }

    /// Returns the snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Returns the group's position, pending entries, dead letters and consumers; `None` if the group or the stream is
    /// missing.
    #[must_use]
    pub fn facts(&self) -> Option<&GroupFacts> {
        self.snapshot.stream.groups.get(&self.group)
    }

    /// Returns the group's lag; unknown for a missing group.
    #[must_use]
    pub fn lag(&self) -> Lag {
        self.snapshot.lags.get(&self.group).copied().unwrap_or(Lag::UNKNOWN)
    }

    /// Returns the number of unfinished events: lag, pending entries and replays; `None` if that is not known.
    #[must_use]
    pub fn backlog(&self) -> Option<u64> {
        let facts = self.facts()?;
        let replays = facts.dead_letters.map_or(0, |letters| letters.replays);
        Some(self.lag().value? + facts.pending + replays)
    }

    /// Returns `true` if the group's position is after the stream's last entry, so that it gets no events up to there.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.facts().is_some_and(|facts| facts.is_ahead_of(&self.snapshot.stream))
    }

    /// Returns the age of the oldest entry that is pending or not delivered; `None` if there is none.
    #[must_use]
    pub fn oldest_age(&self) -> Option<Duration> {
        self.facts()?.oldest_unprocessed().map(|id| self.snapshot.stream.age(id))
    }

    /// Counts the consumers. Returns `None` if they were not read.
    #[must_use]
    pub fn consumers(&self) -> Option<ConsumerCounts> {
        let facts = self.facts()?;
        facts.consumer_source.count(&facts.consumers, self.snapshot.stream.server_ms)
    }

    /// Returns `true` if `consumer` of this group is live: its heartbeat is not older than its lease, or no consumer of
    /// the group ever wrote one.
    #[must_use]
    pub fn is_live(&self, consumer: &ConsumerFacts) -> bool {
        let server_ms = self.snapshot.stream.server_ms;
        self.facts().is_some_and(|facts| facts.consumer_source.is_live(consumer, server_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus_core::facts::{ConsumerSource, DeadLetterFacts, Heartbeat};
    use eventbus_core::lag::LagSource;
    use eventbus_core::names::EntryId;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// Group `g` of a stream that ends at 9-0, seen by the server at 9.5 s.
    fn view(group: GroupFacts, lag: Lag) -> GroupView {
        let stream = StreamFacts {
            exists: true,
            server_ms: 9_500,
            last_generated: id(9_000),
            groups: BTreeMap::from([("g".to_owned(), group)]),
            ..StreamFacts::default()
        };
        let lags = BTreeMap::from([("g".to_owned(), lag)]);
        let snapshot = Snapshot { server: ServerInfo::default(), stream, lags };
        GroupView::new(Arc::new(snapshot), "g")
    }

    #[test]
    fn the_backlog_is_what_is_not_delivered_pending_or_replayed() {
        let replayed = DeadLetterFacts { length: 7, replays: 2, ..DeadLetterFacts::default() };
        let group =
            || GroupFacts { pending: 3, dead_letters: Some(replayed), ..GroupFacts::default() };
        assert_eq!(view(group(), Lag::new(5, LagSource::Exact)).backlog(), Some(10));
        assert_eq!(view(group(), Lag::UNKNOWN).backlog(), None);
    }

    #[test]
    fn a_missing_group_has_no_numbers() {
        let other = view(GroupFacts::default(), Lag::new(5, LagSource::Exact));
        let missing = GroupView::new(other.snapshot().clone(), "missing");
        assert_eq!((missing.facts(), missing.lag()), (None, Lag::UNKNOWN));
        assert_eq!((missing.backlog(), missing.oldest_age()), (None, None));
        assert_eq!((missing.consumers(), missing.is_ahead()), (None, false));
    }

    #[test]
    fn ages_and_leases_end_by_the_servers_clock() {
        let consumer = |at_ms| ConsumerFacts {
            name: "c".into(),
            pending: 0,
            idle: Duration::ZERO,
            heartbeat: Some(Heartbeat { at_ms, lease: Duration::from_secs(5) }),
        };
        let group = GroupFacts {
            oldest_pending: Some(id(7_000)),
            consumers: vec![consumer(4_500), consumer(4_501)],
            consumer_source: ConsumerSource::Heartbeats,
            ..GroupFacts::default()
        };
        let view = view(group, Lag::UNKNOWN);
        assert_eq!(view.oldest_age(), Some(Duration::from_millis(2_500)));
        let counts = ConsumerCounts { total: 2, live: 1, stale: 1 };
        assert_eq!(view.consumers(), Some(counts));
        assert!(view.is_live(&consumer(4_501)) && !view.is_live(&consumer(4_500)));
    }
}
