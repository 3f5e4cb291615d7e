//! One connection that many callers share: made when it is needed, made anew after a failure.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use crate::config::RedisConfig;
use crate::error::{Error, Remedy};

use super::connect;

/// A connection for commands that do not block; clones share it.
#[derive(Clone)]
pub(crate) struct SharedConnection {
    redis: Arc<RedisConfig>,
    response_timeout: Duration,
    state: Arc<Mutex<State>>,
}

/// Numbered, so that a late failure of an old connection does not drop its successor.
#[derive(Default)]
struct State {
    number: u64,
    open: Option<MultiplexedConnection>,
}

impl SharedConnection {
    /// Not connected yet.
    pub(crate) fn new(redis: RedisConfig, response_timeout: Duration) -> Self {
        Self { redis: Arc::new(redis), response_timeout, state: Arc::default() }
    }

    /// Where it connects to, without credentials.
    pub(crate) fn endpoint(&self) -> String {
        self.redis.endpoint()
    }

    /// The connection and its number, for [`judge`](Self::judge).
    pub(crate) async fn open(&self) -> Result<(u64, MultiplexedConnection), Error> {
        let mut state = self.state.clone().lock_owned().await;
        if let Some(open) = &state.open {
            return Ok((state.number, open.clone()));
        }
        let (redis, response_timeout) = (self.redis.clone(), self.response_timeout);
        // A task of its own, which outlives this caller: a connect that takes longer than one call serves the next.
        let connecting = tokio::spawn(async move {
            let open = connect(&redis, response_timeout).await?;
            state.number += 1;
            state.open = Some(open.clone());
            Ok((state.number, open))
        });
        match connecting.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending, and this caller with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Drops the connection behind a failure that a new one may mend.
    pub(crate) async fn judge<T>(&self, number: u64, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            let broken = error.code().is_none() || error.remedy() == Remedy::Reconnect;
            let mut state = self.state.lock().await;
            if broken && state.number == number {
                state.open = None;
            }
        }
        result
    }
}
