//! What all observers share.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::kubernetes::Requeue;
use crate::metrics::Metrics;

use super::endpoints::Endpoints;
use super::{GroupKey, Target};

/// What every observer needs.
pub(super) struct Shared {
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) metrics: Metrics,
    pub(super) requeue: Requeue,
    /// What each resource asks for, by its UID.
    declared: Mutex<HashMap<String, GroupKey>>,
}

impl Shared {
    /// Starts without declared groups.
    pub(super) fn new(endpoints: Arc<Endpoints>, metrics: Metrics, requeue: Requeue) -> Self {
        Self { endpoints, metrics, requeue, declared: Mutex::default() }
    }

    /// Notes what a resource asks for.
    pub(super) fn declare(&self, uid: &str, key: GroupKey) {
        locked(&self.declared).insert(uid.to_owned(), key);
    }

    /// Forgets what resources asked for that `exists` does not know.
    pub(super) fn retain_declared(&self, exists: impl Fn(&str) -> bool) {
        locked(&self.declared).retain(|uid, _| exists(uid));
    }

    /// Returns the groups of a stream that resources ask for.
    pub(super) fn declared(&self, target: &Target) -> HashSet<String> {
        let declared = locked(&self.declared);
        let address = self.endpoints.address(&target.endpoint);
        let here = declared
            .values()
            .filter(|key| key.stream == target.stream.as_str() && key.address == address);
        here.map(|key| key.group.clone()).collect()
    }
}

/// Locks for a moment only; what a panic left behind is still whole.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
