//! Subscribing with the bus: a consumer on a task of its own.

use std::future::Future;
use std::sync::Arc;

use eventbus_core::delivery::{Answer, Delivery, DeliveryConfig};
use eventbus_core::event::TypeFilter;
use eventbus_core::group::Start;
use eventbus_core::names::{ConsumerName, GroupName};
use eventbus_core::settings::SettingErrors;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::consume::{DeadLetters, Readiness, Subscriber, SubscriberConfig};
use crate::error::Error;

use super::EventBus;

/// Running consumer.
///
/// Dropping a subscription, also while it [stops](Self::stop), acts as a crash: handlers are cancelled, and other
/// consumers claim the events in flight once the lease has expired.
#[derive(Debug)]
#[must_use = "dropping a subscription acts as a crash"]
pub struct Subscription {
    readiness: Readiness,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

/// Options of a subscription that does not run yet.
///
/// Made by [`EventBus::subscription`]; [`start`](Self::start) runs it.
#[derive(Debug)]
#[must_use = "a subscription runs once it is started"]
pub struct SubscriptionBuilder {
    bus: EventBus,
    config: SubscriberConfig,
}

impl EventBus {
    /// Reads `group`'s events as `consumer` and calls `handler` with those of `types`, on a task of its own, until the
    /// subscription is [stopped](Subscription::stop). Events of other types are acknowledged without a call.
    ///
    /// Every event is delivered at least once, and acknowledged after the handler has returned [`Answer::Done`]. Up to 8
    /// calls run at once. After [`Answer::Retry`], a panic, or a call of more than 30 s the event is delivered again after a
    /// backoff. After [`Answer::Dead`] or the fifth attempt it is stored as a dead letter in
    /// [`StreamKey::dead_letters`](crate::StreamKey::dead_letters). [`subscription`](Self::subscription) has a setting for
    /// each of these. `consumer` is the name of the process; a nonce is added to it.
    ///
    /// A missing group is created again if this bus created it with
    /// [`create_consumer_group`](Self::create_consumer_group); otherwise the subscription waits for the group, as it waits
    /// for an unreachable Redis. Neither is an error: [`Readiness`] and the log report them.
    ///
    /// ```no_run
    /// # use eventbus::{Answer, ConsumerName, Error, EventBus, GroupName, TypeFilter};
    /// # async fn f(bus: EventBus, group: GroupName, consumer: ConsumerName) -> Result<(), Error> {
    /// let subscription = bus.subscribe(&group, &consumer, TypeFilter::default(), |delivery| async move {
    ///     println!("attempt {} of {}", delivery.attempt, delivery.event.event_id());
    ///     Answer::Done
    /// });
    /// # subscription.stop().await
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn subscribe<H, F>(
        &self,
        group: &GroupName,
        consumer: &ConsumerName,
        types: TypeFilter,
        handler: H,
    ) -> Subscription
    where
        H: Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.subscription(group, consumer).types(types).spawn(handler)
    }

    /// Returns a builder for a subscription of `group`; [`start`](SubscriptionBuilder::start) runs it.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use eventbus::{Answer, ConsumerName, Error, EventBus, GroupName, Start, consume::DeliveryConfig};
    /// # async fn f(bus: EventBus, group: GroupName, consumer: ConsumerName) -> Result<(), Error> {
    /// let mut delivery = DeliveryConfig::default();
    /// delivery.timeout = Duration::from_secs(5);
    /// delivery.concurrency = 32;
    /// let subscription = bus
    ///     .subscription(&group, &consumer)
    ///     .create_group_at(Start::default())
    ///     .delivery(delivery)
    ///     .start(|_delivery| async { Answer::Done })?;
    /// # subscription.stop().await
    /// # }
    /// ```
    pub fn subscription(&self, group: &GroupName, consumer: &ConsumerName) -> SubscriptionBuilder {
        let mut config =
            SubscriberConfig::new(self.stream().clone(), group.clone(), consumer.clone());
        config.start = self.created().get(group).copied();
        config.group_existed = config.start.is_some();
        SubscriptionBuilder { bus: self.clone(), config }
    }
}

impl SubscriptionBuilder {
    /// Delivers only events of these types; others are acknowledged without a call. Default: all types.
    pub fn types(mut self, types: TypeFilter) -> Self {
        self.config.types = types;
        self
    }

    /// Creates the group at `start` if it is missing, restores it if it is lost, and declares it with the types. Default:
    /// only a group that this bus created with [`EventBus::create_consumer_group`].
    pub fn create_group_at(mut self, start: Start) -> Self {
        self.config.start = Some(start);
        self
    }

    /// Sets limits and times: attempts, timeout, concurrency, lease, backoff, order, grace period.
    pub fn delivery(mut self, delivery: DeliveryConfig) -> Self {
        self.config.delivery = delivery;
        self
    }

    /// Stores dead letters in this stream. Default: [`DeadLetters::of`] the group.
    pub fn dead_letters(mut self, dead_letters: DeadLetters) -> Self {
        self.config.dead_letters = Some(dead_letters);
        self
    }

    /// Acknowledges, counts and logs events that cannot be handled, instead of storing them as dead letters.
    pub fn without_dead_letters(mut self) -> Self {
        self.config.dead_letters = None;
        self
    }

    /// Sets the kind of the handler as shown in the consumers' hash. Default `custom`.
    pub fn handler_kind(mut self, kind: impl Into<String>) -> Self {
        self.config.handler = kind.into();
        self
    }

    /// Runs the consumer on a task of its own.
    ///
    /// # Errors
    /// Every invalid setting.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start<H, F>(self, handler: H) -> Result<Subscription, SettingErrors>
    where
        H: Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        self.config.check()?;
        Ok(self.spawn(handler))
    }

    fn spawn<H, F>(self, handler: H) -> Subscription
    where
        H: Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Self { bus, config } = self;
        let subscriber = Subscriber::new(bus.config.redis.clone(), config, bus.metrics.clone())
            .with_refusal_log(bus.refusals.clone());
        let (readiness, stop) = (subscriber.readiness(), CancellationToken::new());
        let task = tokio::spawn(subscriber.run(handler, stop.clone()));
        Subscription { readiness, stop, task }
    }
}

impl Subscription {
    /// Stops reading, waits for running handlers, releases events that were not started, and leaves the group. Handlers
    /// that still run after the grace period (default 35 s) are cancelled; their events are delivered again.
    ///
    /// # Errors
    /// [`Error::ShutdownTimedOut`] if Redis was unreachable until the end of the grace period: other consumers claim the
    /// events in flight once the lease has expired.
    ///
    /// # Panics
    /// If the subscription itself panicked. A panic of a handler does not cause it.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.cancel();
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending, and this caller with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Returns a handle that reports whether the group has been found.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}
