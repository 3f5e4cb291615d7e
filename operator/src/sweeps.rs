//! What Redis tells: one task for each stream, shared by all resources of the stream. A Redis that does not answer
//! costs only its own streams.

mod progress;
mod stream;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventbus::admin::GroupCreation;
use eventbus::{Error, GroupName, Start};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::claim::GroupKey;
use crate::endpoints::Endpoints;
use crate::metrics::Metrics;
use crate::observed::RedisView;
use crate::wake::Wake;
use crate::wanted::{Target, Wanted};

use stream::Stream;

/// All streams that are looked at.
pub struct Sweeps {
    shared: Arc<Shared>,
    streams: Mutex<Streams>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Streams {
    by_target: HashMap<Target, Arc<Stream>>,
    /// Where each resource is, by its UID.
    of: HashMap<String, Target>,
}

/// What every stream's task needs.
struct Shared {
    endpoints: Arc<Endpoints>,
    metrics: Metrics,
    wake: Wake,
    /// What each resource asks for, by its UID.
    declared: Mutex<HashMap<String, GroupKey>>,
}

impl Shared {
    /// The groups of a stream that resources ask for.
    fn declared(&self, target: &Target) -> HashSet<String> {
        let declared = locked(&self.declared);
        let address = self.endpoints.address(&target.endpoint);
        let here = declared
            .values()
            .filter(|key| key.stream == target.stream.as_str() && key.address == address);
        here.map(|key| key.group.clone()).collect()
    }
}

impl Sweeps {
    /// No streams; `wake` reconciles a resource for which something is new. Everything ends with `stop`.
    #[must_use]
    pub fn new(
        endpoints: Arc<Endpoints>,
        metrics: Metrics,
        wake: Wake,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared { endpoints, metrics, wake, declared: Mutex::default() });
        Self { shared, streams: Mutex::default(), tasks: TaskTracker::new(), stop }
    }

    /// Notes what a resource asks for, whoever gets it: all other groups of a stream are told as unmanaged.
    pub fn declare(&self, uid: &str, key: GroupKey) {
        locked(&self.shared.declared).insert(uid.to_owned(), key);
    }

    /// Looks at the group of `wanted` from now on, and no longer at what the resource wanted before. `at_work`: its
    /// pods are ready.
    pub fn join(&self, wanted: &Wanted, at_work: bool) {
        let Some(endpoint) = self.shared.endpoints.get(&wanted.target.endpoint) else {
            return;
        };
        let mut streams = locked(&self.streams);
        let uid = &wanted.resource.uid;
        if streams.of.get(uid).is_some_and(|target| *target != wanted.target) {
            self.leave_locked(&mut streams, uid);
        }
        streams.of.insert(uid.clone(), wanted.target.clone());
        let stream = streams.by_target.entry(wanted.target.clone()).or_insert_with(|| {
            let (target, redis) = (wanted.target.clone(), endpoint.redis.clone());
            let stream = Arc::new(Stream::new(target, redis, self.stop.child_token()));
            let (task, shared) = (Arc::clone(&stream), Arc::clone(&self.shared));
            self.tasks.spawn(async move { task.run(&shared).await });
            stream
        });
        stream.join(&wanted.resource, &wanted.group, at_work);
    }

    /// No longer looks at the group of the resource with this UID.
    pub fn leave(&self, uid: &str) {
        self.leave_locked(&mut locked(&self.streams), uid);
    }

    /// Forgets every resource that `exists` does not know.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        locked(&self.shared.declared).retain(|uid, _| exists(uid));
        let mut streams = locked(&self.streams);
        let gone: Vec<String> = streams.of.keys().filter(|uid| !exists(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.leave_locked(&mut streams, uid));
    }

    /// What Redis told last about the group of `wanted`; `None` before the first answer, or the first failure.
    #[must_use]
    pub fn view(&self, wanted: &Wanted) -> Option<RedisView> {
        self.stream(&wanted.target)?.view(&wanted.resource.uid)
    }

    /// Waits, a few seconds at most, until Redis was asked again.
    pub async fn refresh(&self, target: &Target) {
        if let Some(stream) = self.stream(target) {
            stream.refresh().await;
        }
    }

    /// Creates a group on a stream that is looked at.
    ///
    /// # Errors
    /// Those of [`eventbus::admin::create`]; `None` where nobody looks at the stream any more.
    pub async fn create_group(
        &self,
        target: &Target,
        group: &GroupName,
        start: &Start,
    ) -> Result<GroupCreation, Option<Error>> {
        let stream = self.stream(target).ok_or(None)?;
        stream.create_group(group, start).await.map_err(Some)
    }

    /// Ends all tasks, and waits for them.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn stream(&self, target: &Target) -> Option<Arc<Stream>> {
        locked(&self.streams).by_target.get(target).cloned()
    }

    fn leave_locked(&self, streams: &mut Streams, uid: &str) {
        let Some(target) = streams.of.remove(uid) else {
            return;
        };
        let is_last =
            streams.by_target.get(&target).is_some_and(|stream| stream.leave(uid, &self.shared));
        if is_last && let Some(stream) = streams.by_target.remove(&target) {
            stream.stop.cancel();
        }
    }
}

/// A lock that is held for a moment only; what a panic left behind is still whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
