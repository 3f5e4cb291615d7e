//! Connections of a server, and which of them is closed when there is no room for another one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Open connections.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Open>,
}

/// One open connection.
struct Open {
    /// Since when no request is in work; `None` while one is.
    idle_since: Option<Instant>,
    /// Cancelled to close the connection.
    close: CancellationToken,
    /// Cancelled when it is closed.
    closed: CancellationToken,
}

/// Place of one connection among the open ones, until it is dropped.
pub(super) struct Connection {
    all: Connections,
    id: u64,
    close: CancellationToken,
}

/// A request in work on a connection, until it is dropped.
pub(super) struct Work {
    all: Connections,
    id: u64,
}

impl Connections {
    /// Returns the number of open connections.
    pub fn count(&self) -> usize {
        self.state().open.len()
    }

    /// Adds a connection.
    pub fn add(&self) -> Connection {
        let close = CancellationToken::new();
        let open = Open {
            idle_since: Some(now()),
            close: close.clone(),
            closed: CancellationToken::new(),
        };
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.open.insert(id, open);
        Connection { all: self.clone(), id, close }
    }

    /// Closes the connection that has been without a request in work for the longest time, and waits until it is closed;
    /// returns `false` if there is none.
    pub async fn close_oldest(&self) -> bool {
        let oldest = {
            let state = self.state();
            let idle = state.open.iter().filter_map(|(id, open)| {
                let since = open.idle_since.filter(|_| !open.close.is_cancelled())?;
                Some(((since, *id), (open.close.clone(), open.closed.clone())))
            });
            idle.min_by_key(|(age, _)| *age)
        };
        let Some((_, (close, closed))) = oldest else {
            return false;
        };
        close.cancel();
        closed.cancelled().await;
        true
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.state().open.get_mut(&id) {
            change(open);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Waits until the connection has to be closed.
    pub async fn closed(&self) {
        self.close.cancelled().await;
    }

    /// Records that a request is in work until the result is dropped.
    pub fn begin_request(&self) -> Work {
        self.all.change(self.id, |open| open.idle_since = None);
        Work { all: self.all.clone(), id: self.id }
    }

    /// Returns `true` if no request has been in work for `time`.
    pub fn is_idle_for(&self, time: Duration) -> bool {
        let state = self.all.state();
        let since = state.open.get(&self.id).and_then(|open| open.idle_since);
        since.is_some_and(|since| now() - since >= time)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(open) = self.all.state().open.remove(&self.id) {
            open.closed.cancel();
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.all.change(self.id, |open| open.idle_since = Some(now()));
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge that reads the clock for idle connections")]
fn now() -> Instant {
    Instant::now()
}
