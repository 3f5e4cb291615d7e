//! What was last read from Redis about a stream and one of its groups. Values only; `observers` fills them.

use std::time::Duration;

use eventbus::EntryId;
use eventbus::observe::{GroupFacts, Lag, ServerInfo, StreamFacts};

use crate::metrics::GroupNumbers;

/// State of a stream and one of its groups, as of the last time that Redis was read.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisState {
    /// Redis was not read: another resource owns the group.
    NotRead,
    /// Redis did not answer, or not with what is needed.
    Failed(ReadFailure),
    /// Redis answered.
    Read(Box<GroupSnapshot>),
}

/// Why nothing is known about a stream. The texts are for people, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// User, password, permissions or a credential file are at fault.
    AuthFailed(String),
    /// No answer within the time, or no connection.
    Unreachable(String),
    /// The server is too old.
    UnsupportedServer(String),
    /// The key is no stream.
    WrongType(String),
}

/// A stream and one of its groups, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSnapshot {
    /// There is a stream.
    pub stream_exists: bool,
    /// The stream's counters.
    pub stream: StreamCounters,
    /// The group; `None` where it is missing.
    pub group: Option<GroupFacts>,
    /// The group's lag.
    pub lag: Lag,
    /// The server.
    pub server: ServerInfo,
    /// Groups of the stream that no resource declares, 20 at most.
    pub unmanaged: Vec<String>,
    /// Anything of this differs from the snapshot before.
    pub is_moving: bool,
    /// For 60 s there was work, pods were ready, and neither a delivery nor an acknowledgement was seen.
    pub is_stalled: bool,
}

/// A stream's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamCounters {
    /// The server's clock, milliseconds since 1970.
    pub server_ms: u64,
    /// Entries.
    pub length: u64,
    /// Entries ever added.
    pub entries_added: u64,
    /// The last entry ever added.
    pub last_generated: EntryId,
    /// The oldest entry.
    pub first_entry: Option<EntryId>,
    /// The largest ID that was ever deleted.
    pub max_deleted: EntryId,
}

impl ReadFailure {
    /// The text for people.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::AuthFailed(text)
            | Self::Unreachable(text)
            | Self::UnsupportedServer(text)
            | Self::WrongType(text) => text,
        }
    }
}

impl RedisState {
    /// Returns the numbers for the metrics: all unknown unless Redis answered.
    #[must_use]
    pub fn numbers(&self) -> GroupNumbers {
        match self {
            Self::Read(snapshot) => snapshot.numbers(),
            Self::Failed(_) | Self::NotRead => GroupNumbers::default(),
        }
    }
}

impl GroupSnapshot {
    /// Takes what `facts` say about `group`. The caller, who knows the snapshot before, sets `is_moving` and
    /// `is_stalled`.
    #[must_use]
    pub fn new(facts: &StreamFacts, group: &str, lag: Lag, server: &ServerInfo) -> Self {
        Self {
            stream_exists: facts.exists,
            stream: StreamCounters {
                server_ms: facts.server_ms,
                length: facts.length,
                entries_added: facts.entries_added,
                last_generated: facts.last_generated,
                first_entry: facts.first_entry,
                max_deleted: facts.max_deleted,
            },
            group: facts.groups.get(group).cloned(),
            lag,
            server: server.clone(),
            unmanaged: Vec::new(),
            is_moving: false,
            is_stalled: false,
        }
    }

    /// Whether the group stands past the last entry ever added.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        let position = self.group.as_ref().map(|group| group.last_delivered);
        position.is_some_and(|position| position > self.stream.last_generated)
    }

    /// Events not done: lag, pending and replays; `None` where that cannot be known.
    #[must_use]
    pub fn backlog(&self) -> Option<u64> {
        let group = self.group.as_ref()?;
        let replays = group.dead_letters.map_or(0, |letters| letters.replays);
        Some(self.lag.value? + group.pending + replays)
    }

    fn numbers(&self) -> GroupNumbers {
        let Some(group) = &self.group else {
            return GroupNumbers { lag: self.lag.value, ..GroupNumbers::default() };
        };
        let age = |id: EntryId| Duration::from_millis(self.stream.server_ms.saturating_sub(id.ms));
        GroupNumbers {
            lag: self.lag.value,
            pending: Some(group.pending),
            // Nothing is old in a group that has done everything.
            oldest_age: Some(group.oldest_unprocessed().map_or(Duration::ZERO, age)),
            dead_letters: group.dead_letters.map(|letters| letters.length),
        }
    }

    /// Returns the snapshot without what changes by itself: clocks, idle times, heartbeats.
    #[must_use]
    pub fn without_clocks(&self) -> Self {
        let mut snapshot = self.clone();
        let server_ms = std::mem::take(&mut snapshot.stream.server_ms);
        (snapshot.is_moving, snapshot.is_stalled) = (false, false);
        for consumer in snapshot.group.iter_mut().flat_map(|group| &mut group.consumers) {
            consumer.idle = Duration::ZERO;
            let is_live = consumer.is_live(server_ms);
            let lease = Duration::from_secs(u64::from(is_live));
            consumer.heartbeat =
                consumer.heartbeat.map(|_| eventbus::observe::Heartbeat { at_ms: 0, lease });
        }
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::read;

    use super::*;

    #[test]
    fn a_group_that_has_done_everything_has_no_old_entry() {
        let numbers = read(Some(3)).numbers();
        assert_eq!((numbers.lag, numbers.pending), (Some(3), Some(0)));
        assert_eq!(numbers.oldest_age, Some(Duration::ZERO));
        assert_eq!(numbers.dead_letters, None);
    }

    #[test]
    fn numbers_that_redis_did_not_give_are_unknown() {
        let failed = RedisState::Failed(ReadFailure::Unreachable("down".into()));
        assert_eq!(failed.numbers(), GroupNumbers::default());
        let missing = read(None).numbers();
        assert_eq!((missing.pending, missing.oldest_age), (None, None));
    }
}
