//! One connection that many callers share, and a task that keeps it up: once a command has failed on it, it connects
//! again, without end. Callers wait for it no longer than they have to, and not at all while the breaker is open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventbus_core::retry::breaker::{Breaker, BreakerState};
use eventbus_core::retry::outage::{Outage, Said};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::config::RedisConfig;
use crate::error::{Error, Remedy, chain};
use crate::metrics::ConnectionMetrics;

use super::Connection;

/// A connection that lasts this long ends an outage: a server that refuses writes lets everybody connect.
const STANDS: Duration = Duration::from_secs(2);

/// A connection for commands that do not block; clones share it, and the last one to go ends it.
#[derive(Clone)]
pub(crate) struct SharedConnection {
    inner: Arc<Inner>,
    _supervisor: Arc<AbortOnDropHandle<()>>,
}

struct Inner {
    redis: RedisConfig,
    said: Said,
    response_timeout: Duration,
    state: watch::Sender<State>,
    breaker: Mutex<Breaker>,
    /// Whether the breaker has anything to say; most of the time nobody has to ask it.
    is_quiet: AtomicBool,
    metrics: ConnectionMetrics,
    /// The moment from which times count, also those of `said`.
    began: Instant,
}

enum State {
    /// Nobody has asked for it yet.
    Unused,
    /// Being made, or made anew.
    Connecting,
    /// Numbered, so that a late failure of an old connection does not end its successor.
    Up { number: u64, conn: Connection },
    /// The last try failed.
    Down(Error),
}

impl SharedConnection {
    /// Connects once it is asked for, on a task of its own. A command that is not answered within `response_timeout` fails.
    pub(crate) fn start(
        redis: RedisConfig,
        response_timeout: Duration,
        metrics: ConnectionMetrics,
    ) -> Self {
        Self::supervised(redis, response_timeout, metrics, (Said::default(), now()))
    }

    /// Another connection to the same Redis, of which the log says no cause that this one has said, nor the other way
    /// round.
    pub(crate) fn beside(&self, response_timeout: Duration, metrics: ConnectionMetrics) -> Self {
        let (redis, said) = (self.inner.redis.clone(), self.inner.said.clone());
        Self::supervised(redis, response_timeout, metrics, (said, self.inner.began))
    }

    fn supervised(
        redis: RedisConfig,
        response_timeout: Duration,
        metrics: ConnectionMetrics,
        (said, began): (Said, Instant),
    ) -> Self {
        let inner = Arc::new(Inner {
            redis,
            said,
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

    /// Where it connects to, without credentials.
    pub(crate) fn endpoint(&self) -> String {
        self.inner.redis.endpoint()
    }

    /// The connection and its number, for [`judge`](Self::judge). Waits while it is being made; the caller bounds that.
    ///
    /// # Errors
    /// [`Error::BreakerOpen`] at once while Redis is known to be away, else why the last try to connect failed.
    pub(crate) async fn open(&self) -> Result<(u64, Connection), Error> {
        if !self.inner.permits() {
            // A caller that tries again at once must not keep its thread from those who mend it.
            tokio::task::consume_budget().await;
            return Err(Error::BreakerOpen { endpoint: self.endpoint() });
        }
        if let Some(opened) = self.inner.present() {
            return opened.inspect_err(|error| self.inner.noted(error));
        }
        self.begin();
        let mut changes = self.inner.state.subscribe();
        loop {
            if let Some(opened) = self.inner.present() {
                return opened.inspect_err(|error| self.inner.noted(error));
            }
            if changes.changed().await.is_err() {
                // The runtime is ending, and this caller with it.
                return std::future::pending().await;
            }
        }
    }

    /// Has it made, where nobody has asked for it before.
    pub(crate) fn begin(&self) {
        self.inner.state.send_if_modified(|state| {
            let is_unused = matches!(state, State::Unused);
            if is_unused {
                *state = State::Connecting;
            }
            is_unused
        });
    }

    /// Takes note of how a command on connection `number` ended, and has a new connection made where that may help.
    pub(crate) fn judge<T>(&self, number: u64, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            // However many commands were under way on it, one connection that broke is one failure.
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

    /// Has connection `number` replaced, if it is the present one: what it leads to is not what was looked for.
    pub(crate) fn replace(&self, number: u64) {
        self.inner.end(number);
    }

    /// Whether the breaker is open, so that an operation would be refused or be a probe.
    pub(crate) fn refuses(&self) -> bool {
        !self.inner.is_quiet.load(Ordering::Relaxed)
            && self.inner.with_breaker(|breaker| breaker.state() != BreakerState::Closed)
    }

    /// Takes note that a caller gave up waiting for an answer.
    pub(crate) fn timed_out(&self) {
        self.inner.failed();
    }
}

impl Inner {
    /// The connection, or why there is none; `None` while it is being made.
    fn present(&self) -> Option<Result<(u64, Connection), Error>> {
        match &*self.state.borrow() {
            State::Unused | State::Connecting => None,
            State::Up { number, conn } => Some(Ok((*number, conn.clone()))),
            State::Down(error) => Some(Err(error.again(&self.redis))),
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

    /// Takes note of why there is no connection. What Redis answers is no reason to refuse the next call: it is told the
    /// cause as quickly. A file that cannot be read says nothing about Redis.
    fn noted(&self, error: &Error) {
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

    /// Has connection `number` replaced, if it is the present one: `true` if it was.
    fn end(&self, number: u64) -> bool {
        self.state.send_if_modified(|state| {
            let is_present =
                matches!(state, State::Up { number: present, .. } if *present == number);
            if is_present {
                *state = State::Connecting;
            }
            is_present
        })
    }

    fn uptime(&self) -> Duration {
        now() - self.began
    }
}

async fn supervise(inner: Arc<Inner>) {
    let (mut number, mut outage) = (0, Outage::sharing(inner.said.clone()));
    let mut state = inner.state.subscribe();
    if state.wait_for(|state| !matches!(state, State::Unused)).await.is_err() {
        return;
    }
    loop {
        let wait = match Connection::open(&inner.redis, inner.response_timeout).await {
            Ok(conn) => {
                number += 1;
                let began = inner.uptime();
                inner.metrics.up(number);
                inner.succeeded();
                inner.state.send_replace(State::Up { number, conn });
                let broken = state.wait_for(|state| !matches!(state, State::Up { .. }));
                if said_well(&mut outage, &inner, broken).await.is_err() {
                    return;
                }
                inner.metrics.down();
                let lasted = inner.uptime() - began;
                if lasted >= STANDS { Duration::ZERO } else { note(&mut outage, &inner, None) }
            }
            Err(error) => {
                let wait = note(&mut outage, &inner, Some(&error));
                inner.state.send_replace(State::Down(error));
                wait
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Waits for the end of a connection; once it has stood for a while, the outage before it is over.
async fn said_well<T, E>(
    outage: &mut Outage,
    inner: &Inner,
    broken: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::pin!(broken);
    if let Ok(broken) = tokio::time::timeout(STANDS, &mut broken).await {
        return broken;
    }
    let failures = outage.end();
    if failures > 0 {
        tracing::info!(redis = %inner.redis.endpoint(), failures, "well again");
    }
    broken.await
}

/// Counts a failure, says so now and then, and answers how long to wait.
fn note(outage: &mut Outage, inner: &Inner, error: Option<&Error>) -> Duration {
    let cause = error.map_or_else(|| "broken".to_owned(), Error::cause);
    let (wait, times) = outage.fail(cause, inner.uptime(), die());
    if let Some(times) = times {
        let error = error.map_or_else(|| "the connection broke at once".to_owned(), |e| chain(e));
        tracing::warn!(redis = %inner.redis.endpoint(), times, error,
            "Redis cannot be used, trying again");
    }
    wait
}

#[expect(clippy::disallowed_methods, reason = "the edge that gives the breaker its clock")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the edge that throws the dice of waiting")]
fn die() -> f64 {
    rand::random()
}
