//! Observers of streams: one for each stream, shared by all resources of the stream. A Redis that does not answer
//! costs only its own streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use eventbus::admin::{EnsureGroup, EnsuredGroup};
use eventbus::{Error, GroupName};
use eventbus_api::ResourceId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::kubernetes::Requeue;
use crate::metrics::Metrics;

use super::endpoints::Endpoints;
use super::observer::Observer;
use super::shared::{Shared, locked};
use super::state::RedisState;
use super::{GroupKey, Target};

/// The observers of all streams that resources ask for.
pub struct Observers {
    shared: Arc<Shared>,
    streams: Mutex<Streams>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Streams {
    by_target: HashMap<Target, Arc<Observer>>,
    /// The stream of each resource, by its UID.
    by_uid: HashMap<String, Target>,
}

impl Observers {
    /// Starts without streams; resources for which something is new are put into `requeue`. All observers end with
    /// `stop`.
    #[must_use]
    pub fn new(
        endpoints: Arc<Endpoints>,
        metrics: Metrics,
        requeue: Requeue,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared::new(endpoints, metrics, requeue));
        Self { shared, streams: Mutex::default(), tasks: TaskTracker::new(), stop }
    }

    /// Notes what a resource asks for, whoever gets it: all other groups of a stream are reported as unmanaged.
    pub fn declare(&self, uid: &str, key: GroupKey) {
        self.shared.declare(uid, key);
    }

    /// Observes `group` of `target` for `resource` from now on, and no longer what the resource asked for before.
    /// `at_work`: its pods are ready.
    pub fn join(&self, resource: &ResourceId, target: &Target, group: &GroupName, at_work: bool) {
        let Some(endpoint) = self.shared.endpoints.get(&target.endpoint) else {
            return;
        };
        let mut streams = locked(&self.streams);
        let uid = &resource.uid;
        if streams.by_uid.get(uid).is_some_and(|before| before != target) {
            self.leave_locked(&mut streams, uid);
        }
        streams.by_uid.insert(uid.clone(), target.clone());
        let observer = streams.by_target.entry(target.clone()).or_insert_with(|| {
            let (target, redis) = (target.clone(), endpoint.redis.clone());
            let observer = Arc::new(Observer::new(target, redis, self.stop.child_token()));
            let (task, shared) = (Arc::clone(&observer), Arc::clone(&self.shared));
            self.tasks.spawn(async move { task.run(&shared).await });
            observer
        });
        observer.join(resource, group, at_work);
    }

    /// Stops observing for the resource with this UID.
    pub fn leave(&self, uid: &str) {
        self.leave_locked(&mut locked(&self.streams), uid);
    }

    /// Forgets every resource that `exists` does not know.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        self.shared.retain_declared(&exists);
        let mut streams = locked(&self.streams);
        let gone: Vec<String> = streams.by_uid.keys().filter(|uid| !exists(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.leave_locked(&mut streams, uid));
    }

    /// Returns what was last read of the group on `target` that the resource with this UID asks for; `None` before the
    /// first answer, or the first failure.
    #[must_use]
    pub fn state(&self, target: &Target, uid: &str) -> Option<RedisState> {
        self.observer(target)?.state(uid)
    }

    /// Waits, a few seconds at most, until the stream was read again.
    pub async fn refresh(&self, target: &Target) {
        if let Some(observer) = self.observer(target) {
            observer.refresh().await;
        }
    }

    /// Creates a group on a stream that is observed if it is missing, and declares it.
    ///
    /// # Errors
    /// Those of [`eventbus::admin::ensure_group`]; `None` where the stream is no longer observed.
    pub async fn ensure_group(
        &self,
        target: &Target,
        group: &GroupName,
        request: &EnsureGroup,
    ) -> Result<EnsuredGroup, Option<Error>> {
        let observer = self.observer(target).ok_or(None)?;
        observer.ensure_group(group, request).await.map_err(Some)
    }

    /// Ends all observers, and waits for them.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn observer(&self, target: &Target) -> Option<Arc<Observer>> {
        locked(&self.streams).by_target.get(target).cloned()
    }

    fn leave_locked(&self, streams: &mut Streams, uid: &str) {
        let Some(target) = streams.by_uid.remove(uid) else {
            return;
        };
        let is_last = streams
            .by_target
            .get(&target)
            .is_some_and(|observer| observer.leave(uid, &self.shared.metrics));
        if is_last && let Some(observer) = streams.by_target.remove(&target) {
            observer.stop.cancel();
        }
    }
}
