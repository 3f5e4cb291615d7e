//! Subscribing by the bus: a consumer on a task of its own, with the settings that suit most.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::EventBus;
use crate::consume::{DeadLetters, Readiness, Subscriber, SubscriberConfig};
use crate::error::Error;
use eventbus_core::delivery::{Answer, Delivery, DeliveryConfig};
use eventbus_core::event::TypeFilter;
use eventbus_core::group::Start;
use eventbus_core::names::{ConsumerName, EntryId, GroupName};

/// A consumer that runs. Dropping it, also while it [stops](Self::stop), is a crash: its handlers are cut off, and
/// what it had in hand goes to others once its lease is over.
#[derive(Debug)]
#[must_use = "dropping a subscription ends it as a crash does"]
pub struct Subscription {
    readiness: Readiness,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl EventBus {
    /// Reads `group`'s events as `consumer` and hands those of `types` to `handler`, on a task of its own, until the
    /// subscription is [stopped](Subscription::stop); others are acknowledged unseen.
    ///
    /// Every event is handed over at least once, up to 8 at a time, and acknowledged after the handler answered
    /// [`Answer::Done`]. One that is to be tried again, or whose handler panicked or took more than 30 s, comes again
    /// after a backoff; one that the handler refuses becomes a dead letter in
    /// [`StreamKey::dead_letters`](eventbus_core::names::StreamKey::dead_letters). A [`Subscriber`] has settings for all of
    /// that, which are [`DeliveryConfig::default`] here. `consumer` is the process's name, to which a nonce is added.
    ///
    /// A group that is missing is created again if this bus knows it by
    /// [`create_consumer_group`](Self::create_consumer_group), else the subscription waits for it. So it does while
    /// Redis is away: nothing of that is an error, and [`Readiness`] and the log tell.
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
        let config = SubscriberConfig {
            stream: self.stream().clone(),
            group: group.clone(),
            consumer: consumer.clone(),
            types,
            start: self.created().get(group).copied().map(again),
            dead_letters: Some(DeadLetters::of(self.stream(), group)),
            delivery: DeliveryConfig::default(),
            handler: "custom".to_owned(),
        };
        let subscriber = Subscriber::new(self.config.redis.clone(), config, self.metrics.clone());
        let (readiness, stop) = (subscriber.readiness(), CancellationToken::new());
        let task = tokio::spawn(subscriber.run(handler, stop.clone()));
        Subscription { readiness, stop, task }
    }
}

impl Subscription {
    /// Reads no more, lets the handlers that run come to an end, hands back what was not begun, and leaves the group.
    /// Handlers that take longer than 35 s are cut off; their events come again.
    ///
    /// # Errors
    /// [`Error::NotLeft`] if Redis was away until then: what is in hand goes to others once its lease is over.
    ///
    /// # Panics
    /// If the subscription itself panicked, which no handler makes it do.
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

    /// To ask whether it has found its group.
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

/// Where a group that stood begins once it is lost: what it was to pass over at first is in the past by then.
fn again(start: Start) -> Start {
    match start {
        Start::Latest => Start::Id(EntryId::ZERO),
        start => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_group_never_begins_at_the_streams_end() {
        assert_eq!(again(Start::Latest), Start::Id(EntryId::ZERO));
        let id = Start::Id(EntryId { ms: 5, seq: 1 });
        assert_eq!(again(id), id);
    }
}
