//! One look at Redis for all who ask at the same time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use eventbus_core::names::{GroupName, StreamKey};
use eventbus_core::retry::outage::Outage;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::error::{Error, chain};
use crate::observe::Monitor;

use super::Report;

/// Requests that wait for the looker to notice them; more wait to be taken in.
const WAITING: usize = 64;

type Waiter = oneshot::Sender<Arc<Report>>;

/// A look takes no longer, whatever Redis does: who asks may expect an answer within 2 s.
const LOOK_LIMIT: Duration = Duration::from_millis(1_500);

/// Asks for looks; clones ask the same [`Answering`].
#[derive(Clone)]
pub struct Looks(mpsc::Sender<Waiter>);

/// Takes the looks that [`Looks`] ask for, one at a time, over one connection.
pub struct Answering {
    looker: Looker,
    receiver: mpsc::Receiver<Waiter>,
}

/// Looks at `stream`, of which `groups` are told even where they are missing. Redis is asked when somebody asks here,
/// once for all who ask meanwhile; nothing is answered unless [`Answering::answer`] runs.
#[must_use]
pub fn looks(
    redis: RedisConfig,
    stream: StreamKey,
    groups: BTreeSet<GroupName>,
) -> (Looks, Answering) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let monitor = Monitor::new(redis, stream.clone(), LOOK_LIMIT);
    let outage = Outage::default();
    let looker = Looker { monitor, stream, groups, outage, began: now() };
    (Looks(sender), Answering { looker, receiver })
}

impl Looks {
    /// Returns the report of the check that is running, or of a new one; `None` if the task has ended.
    pub async fn take(&self) -> Option<Arc<Report>> {
        let (waiter, report) = oneshot::channel();
        self.0.send(waiter).await.ok()?;
        report.await.ok()
    }
}

impl Answering {
    /// Answers for ever, until it is dropped.
    pub async fn answer(mut self) -> Infallible {
        loop {
            let Some(first) = self.receiver.recv().await else { return pending().await };
            let mut waiters = vec![first];
            let report = {
                let mut look = pin!(self.looker.look());
                loop {
                    tokio::select! {
                        report = &mut look => break Arc::new(report),
                        Some(waiter) = self.receiver.recv() => waiters.push(waiter),
                    }
                }
            };
            for waiter in waiters {
                // Who has gone away meanwhile needs no answer.
                waiter.send(report.clone()).ok();
            }
        }
    }
}

struct Looker {
    monitor: Monitor,
    stream: StreamKey,
    groups: BTreeSet<GroupName>,
    outage: Outage,
    began: Instant,
}

impl Looker {
    #[expect(clippy::disallowed_methods, reason = "the edge where the time of a look is taken")]
    async fn look(&mut self) -> Report {
        let seen = self.monitor.read().await;
        let now = Timestamp::now();
        self.log(seen.as_ref().err());
        match seen {
            Ok(seen) => Report::of(&seen, &self.groups, now),
            Err(error) => Report::of_failure(&error, &self.stream, &self.groups, now),
        }
    }

    /// One line for a cause and a minute, not one for every request.
    fn log(&mut self, failure: Option<&Error>) {
        let Some(error) = failure else {
            if self.outage.end() > 0 {
                tracing::info!(stream = %self.stream, "Redis answers again");
            }
            return;
        };
        let (_, times) = self.outage.fail(error.cause(), now() - self.began, 0.0);
        if let Some(times) = times {
            tracing::warn!(stream = %self.stream, times, "{}", chain(error));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures")]
fn now() -> Instant {
    Instant::now()
}
