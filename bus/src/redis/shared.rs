//! One connection that many callers share, and a task that reconnects it after a failure, without limit. Callers wait for
//! the connection within their own time limit; while the circuit breaker is open they fail at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventbus_core::retry::breaker::{Breaker, BreakerState};
use eventbus_core::retry::outage::{LogThrottle, Outage};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::config::RedisConfig;
use crate::error::{Error, Remedy, chain};
use crate::metrics::ConnectionMetrics;

use super::Connection;

/// Lifetime of a connection that ends an outage: a server that refuses writes still accepts connections.
const STABLE_AFTER: Duration = Duration::from_secs(2);

/// Connection for commands that do not block. Clones share it; dropping the last clone closes it.
#[derive(Clone)]
pub(crate) struct SharedConnection {
    inner: Arc<Inner>,
    _supervisor: Arc<AbortOnDropHandle<()>>,
}

struct Inner {
    redis: RedisConfig,
    throttle: LogThrottle,
    response_timeout: Duration,
    state: watch::Sender<State>,
    breaker: Mutex<Breaker>,
    /// `true` while the breaker has no failures, so that the usual case needs no lock.
    is_quiet: AtomicBool,
    metrics: ConnectionMetrics,
    /// Times count from this moment, also those of `throttle`.
    began: Instant,
}

enum State {
    /// No caller has asked for the connection yet.
    Unused,
    /// Connecting or reconnecting.
    Connecting,
    /// The number keeps a late failure of an old connection from closing its successor.
    Connected { number: u64, conn: Connection },
    /// The last attempt to connect failed.
    Failed(Error),
}

impl SharedConnection {
    /// Starts the task that connects once a caller asks for the connection. A command that is not answered within
    /// `response_timeout` fails.
    pub(crate) fn start(
        redis: RedisConfig,
        response_timeout: Duration,
        metrics: ConnectionMetrics,
    ) -> Self {
        Self::supervised(redis, response_timeout, metrics, (LogThrottle::default(), now()))
    }

    /// Creates another connection to the same server. Both share one log throttle: a cause logged by one is not logged
    /// again by the other.
    pub(crate) fn beside(&self, response_timeout: Duration, metrics: ConnectionMetrics) -> Self {
        let (redis, throttle) = (self.inner.redis.clone(), self.inner.throttle.clone());
        Self::supervised(redis, response_timeout, metrics, (throttle, self.inner.began))
    }

    fn supervised(
        redis: RedisConfig,
        response_timeout: Duration,
        metrics: ConnectionMetrics,
        (throttle, began): (LogThrottle, Instant),
    ) -> Self {
        let inner = Arc::new(Inner {
            redis,
            throttle,
            response_timeout,
            state: watch::Sender::new(State::Unused),
            breaker: Mutex::default(),
            is_quiet: AtomicBool::new(true),
            metrics,
            began,
        });
        let supervisor = tokio::spawn(supervise(inner.clone()));
        Self { inner, _supervisor: Arc::new(AbortOnDropHandle::new(supervisor)) }
    }

    /// Returns `host:port/db`, without credentials.
    pub(crate) fn endpoint(&self) -> String {
        self.inner.redis.endpoint()
    }

    /// Returns the connection and its number, for [`judge`](Self::judge). Waits while it connects; the caller limits the
    /// wait.
    ///
    /// # Errors
    /// [`Error::BreakerOpen`] at once while the circuit breaker is open, else the error of the last attempt to connect.
    pub(crate) async fn open(&self) -> Result<(u64, Connection), Error> {
        if !self.inner.permits() {
            // A caller that retries at once must not block the task that reconnects.
            tokio::task::consume_budget().await;
            return Err(Error::BreakerOpen { endpoint: self.endpoint() });
        }
        if let Some(opened) = self.inner.current() {
            return opened.inspect_err(|error| self.inner.record(error));
        }
        self.begin();
        let mut changes = self.inner.state.subscribe();
        loop {
            if let Some(opened) = self.inner.current() {
                return opened.inspect_err(|error| self.inner.record(error));
            }
            if changes.changed().await.is_err() {
                // The runtime is ending, and this caller with it.
                return std::future::pending().await;
            }
        }
    }

    /// Starts to connect, if no caller has asked for the connection before.
    pub(crate) fn begin(&self) {
        self.inner.state.send_if_modified(|state| {
            let is_unused = matches!(state, State::Unused);
            if is_unused {
                *state = State::Connecting;
            }
            is_unused
        });
    }

    /// Records the result of a command on connection `number` in the breaker, and reconnects if that may help.
    pub(crate) fn judge<T>(&self, number: u64, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            // A broken connection is one failure, however many commands were in flight on it.
            Err(error) if error.is_unanswered() => {
                if self.inner.end(number) {
                    self.inner.failed();
                }
            }
            Err(error) if error.remedy() == Remedy::Reconnect || error.code() == Some("NOAUTH") => {
                self.inner.succeeded();
                self.inner.end(number);
            }
            _ => self.inner.succeeded(),
        }
        result
    }

    /// Reconnects if connection `number` is the current one, because it leads to the wrong server.
    pub(crate) fn replace(&self, number: u64) {
        self.inner.end(number);
    }

    /// Returns `true` if the breaker is not closed: an operation would be refused or would be a probe.
    pub(crate) fn refuses(&self) -> bool {
        !self.inner.is_quiet.load(Ordering::Relaxed)
            && self.inner.with_breaker(|breaker| breaker.state() != BreakerState::Closed)
    }

    /// Records in the breaker that a caller timed out.
    pub(crate) fn timed_out(&self) {
        self.inner.failed();
    }
}

impl Inner {
    /// Returns the connection, or the error of the last attempt; `None` while it connects.
    fn current(&self) -> Option<Result<(u64, Connection), Error>> {
        match &*self.state.borrow() {
            State::Unused | State::Connecting => None,
            State::Connected { number, conn } => Some(Ok((*number, conn.clone()))),
            State::Failed(error) => Some(Err(error.clone_of_connect(&self.redis))),
        }
    }

    fn permits(&self) -> bool {
        self.is_quiet.load(Ordering::Relaxed) || self.with_breaker(|b| b.permits(self.uptime()))
    }

    fn succeeded(&self) {
        if !self.is_quiet.load(Ordering::Relaxed) {
            self.with_breaker(Breaker::succeeded);
        }
    }

    fn failed(&self) {
        self.with_breaker(|breaker| breaker.failed(self.uptime()));
    }

    /// Records a failed connect in the breaker. An error that Redis answered does not count as a failure, because the
    /// next call gets it as quickly. A file that cannot be read is no result of Redis.
    fn record(&self, error: &Error) {
        if error.is_unanswered() {
            self.failed();
        } else if error.code().is_some() {
            self.succeeded();
        }
    }

    fn with_breaker<T>(&self, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.state();
        let result = change(&mut breaker);
        let (state, is_quiet) = (breaker.state(), breaker.is_quiet());
        self.is_quiet.store(is_quiet, Ordering::Relaxed);
        if state != before {
            self.metrics.breaker(state);
            tracing::debug!(redis = %self.redis.endpoint(), ?state, "the circuit breaker changed");
        }
        result
    }

    /// Reconnects if connection `number` is the current one. Returns `true` if it was.
    fn end(&self, number: u64) -> bool {
        self.state.send_if_modified(|state| {
            let is_current =
                matches!(state, State::Connected { number: current, .. } if *current == number);
            if is_current {
                *state = State::Connecting;
            }
            is_current
        })
    }

    fn uptime(&self) -> Duration {
        now() - self.began
    }
}

async fn supervise(inner: Arc<Inner>) {
    let (mut number, mut outage) = (0, Outage::with_throttle(inner.throttle.clone()));
    let mut state = inner.state.subscribe();
    if state.wait_for(|state| !matches!(state, State::Unused)).await.is_err() {
        return;
    }
    loop {
        let wait = match Connection::open(&inner.redis, inner.response_timeout).await {
            Ok(conn) => {
                number += 1;
                let began = inner.uptime();
                inner.metrics.connected(number);
                inner.succeeded();
                inner.state.send_replace(State::Connected { number, conn });
                let broken = state.wait_for(|state| !matches!(state, State::Connected { .. }));
                if closed(&mut outage, &inner, broken).await.is_err() {
                    return;
                }
                inner.metrics.disconnected();
                let lasted = inner.uptime() - began;
                if lasted >= STABLE_AFTER {
                    Duration::ZERO
                } else {
                    record(&mut outage, &inner, None)
                }
            }
            Err(error) => {
                let wait = record(&mut outage, &inner, Some(&error));
                inner.state.send_replace(State::Failed(error));
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Waits until the connection is closed. Ends the outage once the connection has lasted for [`STABLE_AFTER`].
async fn closed<T, E>(
    outage: &mut Outage,
    inner: &Inner,
    broken: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::pin!(broken);
    if let Ok(broken) = tokio::time::timeout(STABLE_AFTER, &mut broken).await {
        return broken;
    }
    let failures = outage.end();
    if failures > 0 {
        tracing::info!(redis = %inner.redis.endpoint(), failures, "connected to Redis again");
    }
    broken.await
}

/// Records a failure, logs it if the throttle permits, and returns the wait before the next attempt.
fn record(outage: &mut Outage, inner: &Inner, error: Option<&Error>) -> Duration {
    let cause = error.map_or_else(|| "closed".to_owned(), Error::cause);
    let (wait, times) = outage.fail(cause, inner.uptime(), random());
    if let Some(times) = times {
        let error =
            error.map_or_else(|| "the connection was closed at once".to_owned(), |e| chain(e));
        tracing::warn!(redis = %inner.redis.endpoint(), times, error,
            "cannot connect to Redis; retrying");
    }
    wait
}

#[expect(clippy::disallowed_methods, reason = "the edge that gives the breaker its clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge that draws the jitter")]
fn random() -> f64 {
    rand::random()
}
