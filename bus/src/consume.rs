//! Subscribing: reading a group's events, calling a handler for each, and settling it by the answer.
//!
//! [`delivery`](eventbus_core::delivery) decides; here are the connections, the commands and the handler calls.

mod commands;
mod connections;
mod dead_letter;
mod driver;
mod drop_count;
mod permissions;
mod reader;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eventbus_core::delivery::{Answer, Delivery};
use eventbus_core::event::TypeFilter;
use eventbus_core::group::Start;
use eventbus_core::names::{ConsumerName, GroupName, StreamKey};
use eventbus_core::settings::{SettingError, SettingErrors};
use tokio_util::sync::CancellationToken;

use crate::config::RedisConfig;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::scripts::declare_group::RefusalLog;

pub use eventbus_core::delivery::{DeliveryConfig, DeliveryOrder};
pub use eventbus_core::retry::backoff::Backoff;

/// Settings of one consumer: stream, group, name, types, delivery.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriberConfig {
    /// The stream.
    pub stream: StreamKey,
    /// The consumer group.
    pub group: GroupName,
    /// The process's name; a nonce is added, so that two starts never share pending entries.
    pub consumer: ConsumerName,
    /// The types that are handled; others are acknowledged without a handler call.
    pub types: TypeFilter,
    /// Start of the group. `None`: wait until another program creates the group. `Some`: create the group if it is
    /// missing, and declare it with [`types`](Self::types) in `P:eventbus:groups`, so that trimming waits for it while
    /// it is missing. A lost group resumes at its resume point; if Redis lost that too, at this start, or at the oldest
    /// entry if that is [`Start::Latest`], which would skip events.
    pub start: Option<Start>,
    /// Stream for events that cannot be handled. `None`: they are acknowledged, counted, logged and dropped.
    pub dead_letters: Option<DeadLetters>,
    /// Limits and times.
    pub delivery: DeliveryConfig,
    /// Kind of the handler, such as `http`, for people who read the consumers' hash.
    pub handler: String,
    /// `true` if the group is known to have existed: [`Start::Latest`] would then skip events.
    pub(crate) group_existed: bool,
}

impl SubscriberConfig {
    /// Returns a consumer of `group` with the defaults of all other settings: all types, no creation of a missing
    /// group, dead letters in the usual stream.
    #[must_use]
    pub fn new(stream: StreamKey, group: GroupName, consumer: ConsumerName) -> Self {
        Self {
            dead_letters: Some(DeadLetters::of(&stream, &group)),
            stream,
            group,
            consumer,
            types: TypeFilter::default(),
            start: None,
            delivery: DeliveryConfig::default(),
            handler: "custom".to_owned(),
            group_existed: false,
        }
    }

    pub(crate) fn check(&self) -> Result<(), SettingErrors> {
        let mut errors = self.delivery.check().err().unwrap_or_default();
        if let Some(kept) = &self.dead_letters {
            if !kept.stream.is_beside(&self.stream) {
                let usual = self.stream.dead_letters(&self.group);
                errors.push(SettingError::new(
                    "dead_letters.stream",
                    kept.stream.as_str(),
                    format!("must be another key in the stream's hash slot, such as {usual}"),
                ));
            }
            if kept.max_length == 0 {
                let allowed = "must be at least 1; without dead letters there is None";
                errors.push(SettingError::new("dead_letters.max_length", "0", allowed));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(SettingErrors(errors)) }
    }
}

/// Stream for events that cannot be handled, and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetters {
    /// The stream, in the hash slot of the events'; [`StreamKey::dead_letters`] names the usual one.
    pub stream: StreamKey,
    /// Maximum number of dead letters that are kept, the newest; at least 1. At most 10,000 are dropped at once.
    pub max_length: u64,
}

impl DeadLetters {
    /// Returns the defaults of a group: the stream `P:dlq:<group>`, at most 10,000 dead letters.
    #[must_use]
    pub fn of(stream: &StreamKey, group: &GroupName) -> Self {
        Self { stream: stream.dead_letters(group), max_length: 10_000 }
    }

    /// Sets another stream, in the hash slot of the events'.
    #[must_use]
    pub fn with_stream(self, stream: StreamKey) -> Self {
        Self { stream, ..self }
    }

    /// Sets the maximum number of dead letters that are kept, the newest; at least 1.
    #[must_use]
    pub fn with_max_length(self, max_length: u64) -> Self {
        Self { max_length, ..self }
    }
}

/// Handle that reports whether a subscriber has found its group.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Returns `true` once the group was found; a later outage does not change it.
    #[must_use]
    pub fn has_connected(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Consumer of one group, not running yet.
#[derive(Debug)]
pub struct Subscriber {
    redis: RedisConfig,
    config: SubscriberConfig,
    metrics: Metrics,
    readiness: Readiness,
    refusals: RefusalLog,
}

impl Subscriber {
    /// Creates a consumer, which connects when it [runs](Self::run).
    #[must_use]
    pub fn new(redis: RedisConfig, config: SubscriberConfig, metrics: Metrics) -> Self {
        let (readiness, refusals) = (Readiness::default(), RefusalLog::default());
        Self { redis, config, metrics, readiness, refusals }
    }

    /// Shares the log of refused declarations with other tasks.
    pub(crate) fn with_refusal_log(self, refusals: RefusalLog) -> Self {
        Self { refusals, ..self }
    }

    /// Returns a handle to read while the subscriber runs.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Reads, handles and settles until `stop` is cancelled, then finishes what is in flight and leaves the group.
    ///
    /// The handler is called for every event at least once, for up to `concurrency` at a time. Its future is dropped at
    /// the time limit, at the end of the grace period, and when another consumer has claimed its entry. A panic counts
    /// as a failed attempt. Redis may be unreachable at any time. Dropping this future is a crash: events in flight are
    /// delivered to other consumers after their lease.
    ///
    /// # Errors
    /// [`Error::Settings`] at once if the configuration is invalid; [`Error::ShutdownTimedOut`] if Redis was unreachable when the
    /// grace period ended with entries still in flight.
    pub async fn run<H, F>(self, handler: H, stop: CancellationToken) -> Result<(), Error>
    where
        H: Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.config.check()?;
        driver::Driver::new(self, handler).run(stop).await
    }
}
