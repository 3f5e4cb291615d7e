//! Facts of one snapshot of a stream: numbers, names and entry IDs, no payload.

mod consumers;
mod server;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::EntryId;

pub use consumers::{ConsumerCounts, ConsumerFacts, ConsumerSource, Heartbeat};
pub use server::ServerInfo;

/// A stream at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// `true` if the stream exists; otherwise everything but `server_ms` is empty.
    pub exists: bool,
    /// The server's clock, milliseconds since 1970.
    pub server_ms: u64,
    /// Number of entries.
    pub length: u64,
    /// Number of entries ever added.
    pub entries_added: u64,
    /// The ID of the last entry ever added.
    pub last_generated: EntryId,
    /// The oldest entry; `None` in an empty stream.
    pub first_entry: Option<EntryId>,
    /// The largest ID that was ever deleted by XDEL; trimming does not count.
    pub max_deleted: EntryId,
    /// All groups by name; backslashes, and names that are not UTF-8, are escaped.
    pub groups: BTreeMap<String, GroupFacts>,
}

/// A group at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFacts {
    /// Entries delivered and not acknowledged.
    pub pending: u64,
    /// Of `pending`: delayed until another attempt ([`DELAYED`](crate::names::DELAYED)).
    pub delayed: u64,
    /// Of `pending`: suspects, whose consumer vanished with them in flight ([`SUSPECT`](crate::names::SUSPECT)).
    pub suspects: u64,
    /// The last entry that was delivered.
    pub last_delivered: EntryId,
    /// Entries delivered, as counted by the server; `None` if it does not know.
    pub entries_read: Option<u64>,
    /// The lag that the server reports, which is often wrong or missing: see [`lag`](crate::lag).
    pub reported_lag: Option<u64>,
    /// The smallest pending ID.
    pub oldest_pending: Option<EntryId>,
    /// The first entry after `last_delivered`.
    pub oldest_undelivered: Option<EntryId>,
    /// Number of consumers that the server lists, the two reserved names included.
    pub registered_consumers: u64,
    /// Consumers without the reserved names, sorted by name; empty if they were not read.
    pub consumers: Vec<ConsumerFacts>,
    /// Oldest entry that a live consumer reports it cannot fetch, although nothing else was asked for with it.
    pub unfetchable: Option<EntryId>,
    /// Basis on which they are counted.
    pub consumer_source: ConsumerSource,
    /// The group's dead letters; `None` if they were not requested or could not be read.
    pub dead_letters: Option<DeadLetterFacts>,
    /// Reason why consumers or dead letters could not be read, such as a key of another type.
    pub problem: Option<String>,
}

/// Facts of one group's dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFacts {
    /// Number of dead letters, with those of other groups if they share the stream.
    pub length: u64,
    /// Number of dead letters that are being replayed to this group.
    pub replays: u64,
    /// Time of the last dead letter, milliseconds since 1970.
    pub last_ms: Option<u64>,
    /// Number of dead letters that were dropped at their maximum length; `None` if it is unknown.
    pub dropped: Option<u64>,
}

impl StreamFacts {
    /// Returns the age of entry `id` by the server's clock; zero for an ID in the future.
    #[must_use]
    pub fn age(&self, id: EntryId) -> Duration {
        Duration::from_millis(self.server_ms.saturating_sub(id.ms))
    }
}

impl GroupFacts {
    /// Returns `true` if the group's position is after the last entry ever added: entries that are added up to that
    /// position are never delivered to it.
    #[must_use]
    pub fn is_ahead_of(&self, stream: &StreamFacts) -> bool {
        self.last_delivered > stream.last_generated
    }

    /// Returns the oldest unfinished entry: pending or not delivered yet.
    #[must_use]
    pub fn oldest_unprocessed(&self) -> Option<EntryId> {
        self.oldest_pending.into_iter().chain(self.oldest_undelivered).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_an_entry_from_the_future_is_zero() {
        let facts = StreamFacts { server_ms: 5_000, ..StreamFacts::default() };
        assert_eq!(facts.age(EntryId { ms: 3_500, seq: 0 }), Duration::from_millis(1_500));
        assert_eq!(facts.age(EntryId { ms: 9_000, seq: 0 }), Duration::ZERO);
    }

    #[test]
    fn the_oldest_unprocessed_entry_is_pending_or_undelivered() {
        let (old, young) = (EntryId { ms: 1, seq: 0 }, EntryId { ms: 2, seq: 0 });
        let group = |oldest_pending, oldest_undelivered| GroupFacts {
            oldest_pending,
            oldest_undelivered,
            ..GroupFacts::default()
        };
        assert_eq!(group(Some(old), Some(young)).oldest_unprocessed(), Some(old));
        assert_eq!(group(None, Some(young)).oldest_unprocessed(), Some(young));
        assert_eq!(group(None, None).oldest_unprocessed(), None);
    }
}
