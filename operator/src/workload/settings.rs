//! What consumer pods run with.

use std::time::Duration;

use eventbus::{GroupName, StreamKey};
use eventbus_api::ResourceId;
use eventbus_core::retry::backoff::Backoff;

use crate::redis::endpoints::PodSecret;

use super::HandlerKind;

/// Everything that a resource's Deployment is made from.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// The resource that owns it.
    pub resource: &'a ResourceId,
    /// The stream that is consumed.
    pub stream: &'a StreamKey,
    /// The group that is consumed.
    pub group: &'a GroupName,
    /// What each pod runs with.
    pub pods: &'a PodSettings,
    /// How many pods there are.
    pub replicas: u32,
}

/// What each consumer pod runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSettings {
    /// How Redis is reached.
    pub redis: PodRedis,
    /// Patterns of event types; empty: all.
    pub event_types: Vec<String>,
    /// Where events go.
    pub handler: HandlerKind,
    /// How events are read and tried again.
    pub delivery: DeliverySettings,
    /// The consumer's image.
    pub image: String,
}

/// How consumers reach Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRedis {
    /// Without credentials.
    pub url: String,
    /// Where the credentials are.
    pub secret: Option<PodSecret>,
}

/// How events are read and tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Handler calls for one event before it becomes a dead letter.
    pub max_attempts: u32,
    /// Time limit of one handler call.
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
