//! Reporter: one report for all callers that wait at the same time.

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
use crate::error::chain;
use crate::observe::monitor::Monitor;
use crate::observe::monitor_error::MonitorError;

use super::report::Report;

/// Capacity of the queue of requests; a caller beyond it waits until there is room.
const WAITING: usize = 64;

type Waiter = oneshot::Sender<Arc<Report>>;

/// Time limit of a snapshot: a caller of the health service gets an answer within 2 s.
const SNAPSHOT_LIMIT: Duration = Duration::from_millis(1_500);

/// Requests reports. Clones share one [`Reporter`].
#[derive(Clone)]
pub struct Reports(mpsc::Sender<Waiter>);

/// Makes the reports that [`Reports`] asks for, one at a time, over one connection.
pub struct Reporter {
    receiver: mpsc::Receiver<Waiter>,
    monitor: Monitor,
    stream: StreamKey,
    groups: BTreeSet<GroupName>,
    outage: Outage,
    began: Instant,
}

/// Creates a reporter on `stream`, and on `groups` even if they are missing. Redis is read on request, once for all
/// requests that wait; they are answered only while [`Reporter::run`] runs.
#[must_use]
pub fn reports(
    redis: RedisConfig,
    stream: StreamKey,
    groups: BTreeSet<GroupName>,
) -> (Reports, Reporter) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let monitor = Monitor::new(redis, stream.clone(), SNAPSHOT_LIMIT);
    // One command more for each report, and a primary that becomes a replica is in the next one.
    let monitor = monitor.with_server_info_age(Duration::ZERO);
    let (outage, began) = (Outage::default(), now());
    (Reports(sender), Reporter { receiver, monitor, stream, groups, outage, began })
}

impl Reports {
    /// Returns the report that is being made, or a new one; `None` if the reporter has ended.
    pub async fn report(&self) -> Option<Arc<Report>> {
        let (waiter, report) = oneshot::channel();
        self.0.send(waiter).await.ok()?;
        report.await.ok()
    }
}

impl Reporter {
    /// Answers requests until it is dropped.
    pub async fn run(mut self) -> Infallible {
        loop {
            let Some(first) = self.receiver.recv().await else { return pending().await };
            let mut waiters = vec![first];
            let snapshot = {
                let mut reading = pin!(self.monitor.read_all());
                loop {
                    tokio::select! {
                        snapshot = &mut reading => break snapshot,
                        Some(waiter) = self.receiver.recv() => waiters.push(waiter),
                    }
                }
            };
            self.log(snapshot.as_ref().err());
            let now = time_of_day();
            let report = Arc::new(match snapshot {
                Ok(snapshot) => Report::of(&snapshot, &self.groups, now),
                Err(error) => Report::of_failure(&error, &self.stream, &self.groups, now),
            });
            for waiter in waiters {
                // A caller that no longer waits needs no report.
                waiter.send(report.clone()).ok();
            }
        }
    }

    /// Logs a failure, each cause once a minute, and the recovery.
    fn log(&mut self, failure: Option<&MonitorError>) {
        let Some(error) = failure else {
            if self.outage.end() > 0 {
                tracing::info!(stream = %self.stream, "the stream can be read again");
            }
            return;
        };
        let (_, times) = self.outage.fail(error.cause(), now() - self.began, 0.0);
        if let Some(times) = times {
            tracing::warn!(stream = %self.stream, times, error = %chain(error), "cannot read the stream");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that stamps reports")]
fn time_of_day() -> Timestamp {
    Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge that measures")]
fn now() -> Instant {
    Instant::now()
}
