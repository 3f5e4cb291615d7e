//! State that all reconciles share: clients, caches and memory.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, ResourceExt};

use crate::error::Error;
use crate::kubernetes::cache::Caches;
use crate::kubernetes::election::Elector;
use crate::kubernetes::write_budget::{Budget, Priority};
use crate::metrics::Metrics;
use crate::redis::endpoints::Endpoints;
use crate::redis::observers::Observers;
use crate::settings::Settings;

use super::memory::Memory;

/// Field manager of the fields that the operator sets.
pub(super) const FIELD_MANAGER: &str = "eventbus-operator";
/// Name of the controller in the Events that the operator writes.
const REPORTER: &str = "eventbus-operator";

/// Parts from which a context is built.
pub(crate) struct Parts {
    /// Client of the API server.
    pub(crate) client: Client,
    /// Settings of the operator.
    pub(crate) settings: Settings,
    /// Redis endpoints.
    pub(crate) endpoints: Arc<Endpoints>,
    /// Watched objects.
    pub(crate) caches: Caches,
    /// Observers of the streams.
    pub(crate) observers: Observers,
    /// Leader election, which permits writes.
    pub(crate) elector: Arc<Elector>,
    /// Metrics.
    pub(crate) metrics: Metrics,
    /// Identity of this replica.
    pub(crate) identity: String,
}

/// State that all reconciles share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) observers: Observers,
    pub(crate) caches: Caches,
    pub(crate) metrics: Metrics,
    pub(crate) memory: Memory,
    pub(crate) recorder: Recorder,
    elector: Arc<Elector>,
    budget: Mutex<Budget>,
}

impl Context {
    /// Builds the context from its parts.
    pub(crate) fn new(parts: Parts) -> Self {
        let reporter = Reporter { controller: REPORTER.to_owned(), instance: Some(parts.identity) };
        Self {
            recorder: Recorder::new(parts.client.clone(), reporter),
            client: parts.client,
            budget: Mutex::new(Budget::new(parts.settings.status_writes_per_second, now())),
            settings: parts.settings,
            endpoints: parts.endpoints,
            observers: parts.observers,
            metrics: parts.metrics,
            memory: Memory::default(),
            caches: parts.caches,
            elector: parts.elector,
        }
    }

    /// Checks that this replica is the leader.
    ///
    /// # Errors
    /// [`Error::NotLeading`] if another replica may be the leader: nothing must be written then.
    pub(crate) fn may_write(&self, operation: &'static str, subject: &str) -> Result<(), Error> {
        if self.elector.is_leading() {
            return Ok(());
        }
        Err(Error::NotLeading { operation, subject: subject.to_owned() })
    }

    /// Takes one status write from the budget.
    ///
    /// # Errors
    /// The time until a write is available.
    pub(crate) fn take_write(&self, priority: Priority) -> Result<(), Duration> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(priority, now())
    }

    /// Forgets the resources that no longer exist.
    pub(crate) fn forget_deleted(&self) {
        let resources = self.caches.resources();
        let uids: std::collections::HashSet<String> =
            resources.iter().filter_map(|resource| resource.uid()).collect();
        self.observers.retain(|uid| uids.contains(uid));
        self.memory.retain(|uid| uids.contains(uid));
    }
}

/// Returns the monotonic time.
#[expect(clippy::disallowed_methods, reason = "the edge where time enters the decisions")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the wall-clock time.
#[expect(clippy::disallowed_methods, reason = "the edge where time enters the decisions")]
pub(crate) fn wall_clock() -> Timestamp {
    Timestamp::now()
}
