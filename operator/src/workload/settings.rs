//! Settings of the consumer pods.

use std::time::Duration;

use eventbus::{GroupName, StreamKey};
use eventbus_api::ResourceId;
use eventbus_core::retry::backoff::Backoff;

use crate::redis::endpoints::PodSecret;

use super::HandlerKind;

/// Input from which a resource's Deployment is built.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// Resource that owns the Deployment.
    pub resource: &'a ResourceId,
    /// Stream that is consumed.
    pub stream: &'a StreamKey,
    /// Group that is consumed.
    pub group: &'a GroupName,
    /// Settings of each pod.
    pub pods: &'a PodSettings,
    /// Number of pods.
    pub replicas: u32,
}

/// Settings of each consumer pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodSettings {
    /// Connection to Redis.
    pub redis: PodRedis,
    /// Patterns of the event types; empty: all.
    pub event_types: Vec<String>,
    /// Handler of the events.
    pub handler: HandlerKind,
    /// Delivery of the events to the handler.
    pub delivery: DeliverySettings,
    /// Image of the consumer.
    pub image: String,
}

/// Connection of the consumer pods to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRedis {
    /// URL without credentials.
    pub url: String,
    /// Secret with the credentials.
    pub secret: Option<PodSecret>,
}

/// Delivery of events to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// Number of handler calls for one event before it becomes a dead letter.
    pub max_attempts: u32,
    /// Time limit of one handler call.
    pub timeout: Duration,
    /// Maximum number of concurrent handler calls in each pod.
    pub concurrency: u32,
    /// Maximum number of entries per read.
    pub batch_size: u32,
    /// Maximum size of the entries that a pod has in flight, in bytes.
    pub max_bytes: u64,
    /// Time without a heartbeat after which other consumers claim the events of a consumer.
    pub lease: Duration,
    /// Wait before a failed event is retried.
    pub backoff: Backoff,
}
