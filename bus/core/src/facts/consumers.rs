//! Consumers of a group, and which of them are live.

use std::time::Duration;

/// A consumer of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerFacts {
    /// Its name; backslashes, and a name that is not UTF-8, are escaped.
    pub name: String,
    /// Entries that are pending for it.
    pub pending: u64,
    /// Time since the server last saw it read or claim; since its heartbeat for a consumer that the server does not
    /// list.
    pub idle: Duration,
    /// Its last heartbeat; `None` for a consumer of another library.
    pub heartbeat: Option<Heartbeat>,
}

/// Last renewal of a consumer's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Time of the heartbeat by the server's clock, milliseconds since 1970.
    pub at_ms: u64,
    /// Length of the lease.
    pub lease: Duration,
}

/// Basis on which a group's consumers are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsumerSource {
    /// Nothing: the consumers were not requested, or could not be read.
    #[default]
    NotRead,
    /// Their heartbeats: a consumer of the group has written one.
    Heartbeats,
    /// The server's list: all consumers of the group are those of other libraries.
    ServerList,
}

/// Number of a group's consumers, without the reserved names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerCounts {
    /// All of them.
    pub total: u64,
    /// Of `total`: those that are live, see [`ConsumerSource::is_live`].
    pub live: u64,
    /// Of `total`: those that are not live, such as those that crashed.
    pub stale: u64,
}

impl ConsumerFacts {
    /// Returns `true` if the consumer's lease has not expired at `server_ms`.
    #[must_use]
    pub fn is_live(&self, server_ms: u64) -> bool {
        self.heartbeat.is_some_and(|heartbeat| heartbeat.is_live(server_ms))
    }
}

impl Heartbeat {
    /// Returns `true` if it is not older than its lease at `server_ms`.
    #[must_use]
    pub fn is_live(&self, server_ms: u64) -> bool {
        // Further in the future than its lease it was not written by a server with a clock a little ahead.
        Duration::from_millis(server_ms.abs_diff(self.at_ms)) < self.lease
    }
}

impl ConsumerSource {
    /// Returns `true` if `consumer` is live at `server_ms`: its heartbeat is not older than its lease, however long it
    /// has been idle. If no consumer of its group ever wrote a heartbeat, each one is live.
    #[must_use]
    pub fn is_live(self, consumer: &ConsumerFacts, server_ms: u64) -> bool {
        match self {
            Self::Heartbeats => consumer.is_live(server_ms),
            Self::ServerList | Self::NotRead => true,
        }
    }

    /// Counts the consumers of one group at `server_ms`. Returns `None` if they were not read.
    #[must_use]
    pub fn count(self, consumers: &[ConsumerFacts], server_ms: u64) -> Option<ConsumerCounts> {
        if self == Self::NotRead {
            return None;
        }
        let total = consumers.len() as u64;
        let live =
            consumers.iter().filter(|consumer| self.is_live(consumer, server_ms)).count() as u64;
        Some(ConsumerCounts { total, live, stale: total - live })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 100_000;
    const LEASE: Duration = Duration::from_secs(30);

    /// A consumer whose heartbeat is so old, or that has none.
    fn consumer(age_ms: Option<u64>) -> ConsumerFacts {
        let heartbeat = age_ms.map(|age| Heartbeat { at_ms: NOW - age, lease: LEASE });
        ConsumerFacts { name: "c".into(), pending: 0, idle: Duration::from_secs(3_600), heartbeat }
    }

    /// Total, live and stale.
    type Counts = (u64, u64, u64);

    fn counts(source: ConsumerSource, ages: &[Option<u64>]) -> Option<Counts> {
        let consumers: Vec<_> = ages.iter().copied().map(consumer).collect();
        source.count(&consumers, NOW).map(|counts| (counts.total, counts.live, counts.stale))
    }

    #[test]
    fn consumers_count_while_their_heartbeat_is_younger_than_their_lease() {
        let cases: [(&[Option<u64>], Counts); 6] = [
            (&[], (0, 0, 0)),
            (&[Some(0), Some(10_000), Some(29_999)], (3, 3, 0)),
            (&[Some(29_999), Some(30_000)], (2, 1, 1)),
            (&[Some(90_000)], (1, 0, 1)),
            (&[Some(0), None], (2, 1, 1)),
            (&[None], (1, 0, 1)),
        ];
        for (ages, expected) in cases {
            assert_eq!(counts(ConsumerSource::Heartbeats, ages), Some(expected), "{ages:?}");
        }
    }

    #[test]
    fn every_consumer_of_a_group_without_heartbeats_counts() {
        assert_eq!(counts(ConsumerSource::ServerList, &[]), Some((0, 0, 0)));
        assert_eq!(counts(ConsumerSource::ServerList, &[None, None]), Some((2, 2, 0)));
    }

    #[test]
    fn consumers_that_were_not_read_are_not_counted() {
        assert_eq!(counts(ConsumerSource::NotRead, &[]), None);
    }

    #[test]
    fn a_heartbeat_of_the_servers_future_is_live() {
        let heartbeat = Heartbeat { at_ms: NOW + 5_000, lease: LEASE };
        assert!(ConsumerFacts { heartbeat: Some(heartbeat), ..consumer(None) }.is_live(NOW));
    }

    #[test]
    fn case_06_a_heartbeat_further_ahead_than_its_lease_is_not_live_for_ever() {
        for at_ms in [NOW + 30_000, u64::MAX] {
            let heartbeat = Heartbeat { at_ms, lease: LEASE };
            let consumer = ConsumerFacts { heartbeat: Some(heartbeat), ..consumer(None) };
            assert!(!consumer.is_live(NOW), "{at_ms}");
        }
    }
}
