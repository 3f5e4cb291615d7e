//! State of a stream and one of its groups, as last read from Redis by `observers`. Values only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eventbus::chain;
use eventbus::observe::{GroupFacts, GroupView, Heartbeat, MonitorError, Snapshot, StreamFacts};

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

/// Reason why nothing is known about a stream. The texts are for people, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFailure {
    /// The user, the password, the permissions or a credential file is wrong.
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
    /// The group in a snapshot of its stream.
    pub view: GroupView,
    /// Groups of the stream that no resource declares, 20 at most.
    pub unmanaged: Vec<String>,
    /// Anything of the group, or of its stream, differs from the snapshot before.
    pub is_moving: bool,
    /// For 60 s there was work, pods were ready, and neither a delivery nor an acknowledgement was seen.
    pub is_stalled: bool,
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
    /// Returns the group, if Redis was read and has it.
    #[must_use]
    pub fn group(&self) -> Option<&GroupFacts> {
        match self {
            Self::Read(snapshot) => snapshot.view.facts(),
            Self::Failed(_) | Self::NotRead => None,
        }
    }

    /// Returns the numbers for the metrics: all unknown unless Redis answered.
    #[must_use]
    pub fn numbers(&self) -> GroupNumbers {
        match self {
            Self::Read(snapshot) => snapshot.numbers(),
            Self::Failed(_) | Self::NotRead => GroupNumbers::default(),
        }
    }
}

impl From<&MonitorError> for ReadFailure {
    fn from(error: &MonitorError) -> Self {
        let text = chain(error);
        match error {
            MonitorError::AuthFailed(_) => Self::AuthFailed(text),
            MonitorError::UnsupportedServer { .. } => Self::UnsupportedServer(text),
            MonitorError::WrongType(_) => Self::WrongType(text),
            _ => Self::Unreachable(text),
        }
    }
}

impl GroupSnapshot {
    /// Takes a view of the group. The caller, who knows the snapshot before, sets `is_moving` and `is_stalled`.
    #[must_use]
    pub fn new(view: GroupView, unmanaged: Vec<String>) -> Self {
        Self { view, unmanaged, is_moving: false, is_stalled: false }
    }

    /// Returns the stream.
    #[must_use]
    pub fn stream(&self) -> &StreamFacts {
        &self.view.snapshot().stream
    }

    fn numbers(&self) -> GroupNumbers {
        let lag = self.view.lag().value;
        let Some(group) = self.view.facts() else {
            return GroupNumbers { lag, ..GroupNumbers::default() };
        };
        GroupNumbers {
            lag,
            pending: Some(group.pending),
            // Nothing is old in a group that has done everything.
            oldest_age: Some(self.view.oldest_age().unwrap_or(Duration::ZERO)),
            dead_letters: group.dead_letters.map(|letters| letters.length),
        }
    }

    /// Returns the snapshot without what changes by itself (clocks, idle times, heartbeats) and without other groups.
    #[must_use]
    pub fn without_clocks(&self) -> Self {
        let (name, stream) = (self.view.name(), self.stream());
        let mut group = self.view.facts().cloned();
        for consumer in group.iter_mut().flat_map(|group| &mut group.consumers) {
            let lease = Duration::from_secs(u64::from(consumer.is_live(stream.server_ms)));
            consumer.idle = Duration::ZERO;
            consumer.heartbeat = consumer.heartbeat.map(|_| Heartbeat { at_ms: 0, lease });
        }
        let stream = StreamFacts {
            exists: stream.exists,
            server_ms: 0,
            length: stream.length,
            entries_added: stream.entries_added,
            last_generated: stream.last_generated,
            first_entry: stream.first_entry,
            max_deleted: stream.max_deleted,
            groups: group.map(|group| (name.to_owned(), group)).into_iter().collect(),
        };
        let lags = BTreeMap::from([(name.to_owned(), self.view.lag())]);
        let server = self.view.snapshot().server.clone();
        let snapshot = Arc::new(Snapshot { server, stream, lags });
        Self::new(GroupView::new(snapshot, name), self.unmanaged.clone())
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
