//! Settings of the delivery of events to the handler.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::scalars::where_span;
use crate::{ByteSize, DurationText};

/// Delivery of a group's events to its handler: batches, concurrency, time limits and retries.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(where_span("lease", "{} >= duration('5s') && {} <= duration('1h')"))
    .message("lease must be between 5s and 1h"))]
#[x_kube(validation = Rule::new(where_span("timeout", "{} > duration('0s') && {} <= duration('1h')"))
    .message("timeout must be above 0s and at most 1h"))]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Number of handler calls for one event before it becomes a dead letter; 1 to 100. Default: 5.
    #[serde(default = "max_attempts")]
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: u32,
    /// Time limit of one handler call, which is cancelled at its end and counts as failed; above 0s, at most 1h. Default: 30s.
    #[serde(default = "thirty_seconds")]
    pub timeout: DurationText,
    /// Maximum number of concurrent handler calls in each pod; 1 to 256. Default: 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub concurrency: Option<u32>,
    /// Maximum number of entries per read; 1 to 1000. Default: 16.
    #[serde(default = "batch_size")]
    #[schemars(range(min = 1, max = 1000))]
    pub batch_size: u32,
    /// Maximum size of the entries that a pod has in flight: fewer are read at once where they are large. A number of bytes,
    /// or one with the unit Mi or Gi, from 1Mi to 1024Gi. Default: 64Mi.
    #[serde(default = "max_bytes")]
    pub max_bytes: ByteSize,
    /// Time without a heartbeat after which other consumers claim the events of a consumer; 5s to 1h. Default: 30s.
    #[serde(default = "thirty_seconds")]
    pub lease: DurationText,
    /// Wait before a failed event is retried.
    #[serde(default)]
    #[schemars(extend("default" = {}))]
    pub backoff: Backoff,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            max_attempts: max_attempts(),
            timeout: thirty_seconds(),
            concurrency: None,
            batch_size: batch_size(),
            max_bytes: max_bytes(),
            lease: thirty_seconds(),
            backoff: Backoff::default(),
        }
    }
}

/// Wait before the n-th retry of an event: initial × multiplier^(n-1), at most max, ± jitterPercent.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new(where_span(
    "initial", &where_span("max", "duration(self.initial) <= {}")
)).message("backoff.initial must not exceed backoff.max"))]
#[x_kube(validation = Rule::new(where_span("initial", "{} > duration('0s')"))
    .message("backoff.initial must be above 0s"))]
#[x_kube(validation = Rule::new(where_span("max", "{} <= duration('24h')"))
    .message("backoff.max must be at most 24h"))]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// Wait after the first failed attempt; above 0s, at most max. Default: 1s.
    #[serde(default = "one_second")]
    pub initial: DurationText,
    /// Maximum wait; at most 24h. Default: 5m.
    #[serde(default = "five_minutes")]
    pub max: DurationText,
    /// Factor between one wait and the next; 1 to 10. Default: 2.
    #[serde(default = "multiplier")]
    #[schemars(range(min = 1, max = 10))]
    pub multiplier: u32,
    /// Random deviation of each wait, up or down, in per cent of the wait; 0 to 100. Default: 20.
    #[serde(default = "jitter_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub jitter_percent: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: one_second(),
            max: five_minutes(),
            multiplier: multiplier(),
            jitter_percent: jitter_percent(),
        }
    }
}

fn max_attempts() -> u32 {
    5
}

fn batch_size() -> u32 {
    16
}

fn max_bytes() -> ByteSize {
    "64Mi".into()
}

fn multiplier() -> u32 {
    2
}

fn jitter_percent() -> u32 {
    20
}

fn one_second() -> DurationText {
    "1s".into()
}

fn thirty_seconds() -> DurationText {
    "30s".into()
}

fn five_minutes() -> DurationText {
    "5m".into()
}
