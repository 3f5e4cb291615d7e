//! One look at Redis for all who ask at the same time.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use axum::http::StatusCode;
use bus::error::chain;
use bus::monitor::Monitor;
use bus::names::{GroupName, StreamKey};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::report::Report;

/// Requests that wait for the looker to notice them; more wait to be taken in.
const WAITING: usize = 64;

type Waiter = oneshot::Sender<Arc<Report>>;

/// Asks for looks.
#[derive(Clone)]
pub struct Looks(mpsc::Sender<Waiter>);

/// Takes the looks, one at a time.
pub struct Looker {
    monitor: Monitor,
    stream: StreamKey,
    groups: BTreeSet<GroupName>,
    failure: Option<String>,
}

/// Serves `looker` to as many as like.
pub fn looks(looker: Looker) -> (Looks, Answering) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Looks(sender), Answering { looker, receiver })
}

/// A looker with those who ask it.
pub struct Answering {
    looker: Looker,
    receiver: mpsc::Receiver<Waiter>,
}

impl Looks {
    /// What a look shows that is going on now, or a new one.
    ///
    /// # Errors
    /// 503 where the service ends before there is an answer.
    pub async fn take(&self) -> Result<Arc<Report>, StatusCode> {
        let (waiter, report) = oneshot::channel();
        self.0.send(waiter).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        report.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl Answering {
    /// Answers for ever.
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

impl Looker {
    /// A looker that tells of `groups` even where they are missing.
    pub fn new(monitor: Monitor, stream: StreamKey, groups: BTreeSet<GroupName>) -> Self {
        Self { monitor, stream, groups, failure: None }
    }

    #[expect(clippy::disallowed_methods, reason = "the edge where the time of a look is taken")]
    async fn look(&mut self) -> Report {
        let seen = self.monitor.read().await;
        let now = Timestamp::now();
        self.log(seen.as_ref().err().map(|error| chain(error)));
        match seen {
            Ok(seen) => Report::of(&seen, &self.groups, now),
            Err(error) => Report::of_failure(&error, &self.stream, &self.groups, now),
        }
    }

    /// One line when the cause changes, not one for every request.
    fn log(&mut self, failure: Option<String>) {
        if failure != self.failure {
            match &failure {
                Some(error) => tracing::warn!(stream = %self.stream, "{error}"),
                None => tracing::info!(stream = %self.stream, "Redis answers again"),
            }
            self.failure = failure;
        }
    }
}
