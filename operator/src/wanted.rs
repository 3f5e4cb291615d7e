//! What a resource asks for, parsed: the input of every decision.

use std::time::Duration;

use eventbus::{GroupName, Start, StreamKey};
use eventbus_api::Format;
use eventbus_core::retry::backoff::Backoff;

use crate::endpoints::PodSecret;

/// A valid resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Which resource, in which generation.
    pub resource: ResourceId,
    /// The stream, on its Redis.
    pub target: Target,
    /// The group.
    pub group: GroupName,
    /// Where the group starts if it has to be created.
    pub start: Start,
    /// How consumers reach Redis.
    pub redis: PodRedis,
    /// Patterns of event types; empty: all.
    pub event_types: Vec<String>,
    /// What is done with an event.
    pub handler: HandlerKind,
    /// How events are read and tried again.
    pub delivery: DeliverySettings,
    /// Consumer pods while not suspended.
    pub replicas: u32,
    /// No pods while true.
    pub suspend: bool,
    /// The consumer's image.
    pub image: String,
}

/// A resource in one of its generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: another resource of the same name has another.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
}

/// A stream on an endpoint: the unit that is swept at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The endpoint's name.
    pub endpoint: String,
    /// The stream.
    pub stream: StreamKey,
}

/// How consumers reach Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRedis {
    /// Without credentials.
    pub url: String,
    /// Where the credentials stand.
    pub secret: Option<PodSecret>,
}

/// What is done with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// It is sent to a URL.
    Http {
        /// The URL.
        url: String,
        /// The form of the request.
        format: Format,
    },
    /// One log line is written.
    Log,
}

/// How events are read and tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Handler calls for one event before it becomes a dead letter.
    pub max_attempts: u32,
    /// The time that one handler call may take.
    pub timeout: Duration,
    /// Handler calls at the same time in each pod.
    pub concurrency: u32,
    /// Entries read at once.
    pub batch_size: u32,
    /// How long an event stays with a consumer that went silent.
    pub lease: Duration,
    /// The wait before another attempt.
    pub backoff: Backoff,
}

impl Wanted {
    /// Consumer pods that shall exist now.
    #[must_use]
    pub fn desired_replicas(&self) -> u32 {
        if self.suspend { 0 } else { self.replicas }
    }
}
