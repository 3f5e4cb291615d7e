//! What is there: the other input of every decision. Values only; `observe` and `sweeps` fill them.

use std::time::Duration;

use eventbus::EntryId;
use eventbus::observe::{GroupFacts, Lag, ServerInfo, StreamFacts};
use k8s_openapi::api::apps::v1::Deployment;

/// What is there for one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Who has the group.
    pub claim: Claim,
    /// What Redis told last.
    pub redis: RedisView,
    /// The Deployment of the name that the resource needs.
    pub deployment: DeploymentView,
    /// Why its pods are not ready, where they tell.
    pub pod_problem: Option<String>,
}

/// Who has a group that several resources may want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This resource.
    Ours,
    /// An older one.
    Other {
        /// `namespace/name`; `None` where it is in another namespace and must not be told.
        name: Option<String>,
    },
}

/// The Deployment of the name that a resource needs.
#[derive(Clone, Debug, PartialEq)]
pub enum DeploymentView {
    /// There is none.
    Absent,
    /// It is controlled by somebody else, or by nobody.
    Foreign,
    /// It is ours.
    Ours(Box<Deployment>),
}

/// What Redis told last about a stream and one of its groups.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisView {
    /// It was not asked: the group is another resource's.
    NotAsked,
    /// It did not answer, or not with what is needed.
    Trouble(Trouble),
    /// It answered.
    Seen(Box<GroupView>),
}

/// Why nothing is known about a stream. The texts are for people, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// User, password, rights or a credential file are at fault.
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
pub struct GroupView {
    /// Whether there is a stream.
    pub stream_exists: bool,
    /// The stream and its counters; of its groups only what `group` says.
    pub stream: StreamView,
    /// The group; `None` where it is missing.
    pub group: Option<GroupFacts>,
    /// The group's lag.
    pub lag: Lag,
    /// The server.
    pub server: ServerInfo,
    /// Groups of the stream that no resource declares, 20 at most.
    pub unmanaged: Vec<String>,
    /// Whether anything of this differs from the sweep before.
    pub is_moving: bool,
    /// Whether there was work for 60 s, pods were ready, and neither a delivery nor an acknowledgement was seen.
    pub is_stalled: bool,
}

/// A stream's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamView {
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

impl Trouble {
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

impl GroupView {
    /// What `facts` say about `group`. Whether it moves is for the caller to tell, who knows the view before.
    #[must_use]
    pub fn new(facts: &StreamFacts, group: &str, lag: Lag, server: &ServerInfo) -> Self {
        Self {
            stream_exists: facts.exists,
            stream: StreamView {
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

    /// The view without what changes by itself: clocks, idle times, beats. Equal ones tell the same.
    #[must_use]
    pub fn without_clocks(&self) -> Self {
        let mut view = self.clone();
        let server_ms = std::mem::take(&mut view.stream.server_ms);
        (view.is_moving, view.is_stalled) = (false, false);
        for consumer in view.group.iter_mut().flat_map(|group| &mut group.consumers) {
            consumer.idle = Duration::ZERO;
            let is_live = consumer.is_live(server_ms);
            let lease = Duration::from_secs(u64::from(is_live));
            consumer.heartbeat =
                consumer.heartbeat.map(|_| eventbus::observe::Heartbeat { at_ms: 0, lease });
        }
        view
    }
}
