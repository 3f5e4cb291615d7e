//! The observer of one stream: a connection of its own, one snapshot for all its groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eventbus::admin::{self, EnsureGroup, EnsuredGroup};
use eventbus::config::RedisConfig;
use eventbus::observe::{GroupRequest, GroupView, Monitor, Snapshot};
use eventbus::{Error, GroupName};
use eventbus_api::ResourceId;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::{GroupLabels, Metrics};

use super::Target;
use super::progress::Progress;
use super::shared::{Shared, locked};
use super::state::{GroupSnapshot, ReadFailure, RedisState};

/// Time limit of one snapshot, connecting included.
const LIMIT: Duration = Duration::from_secs(2);
/// Pause between two snapshots while something moves, or Redis is unreachable.
const MOVING: Duration = Duration::from_secs(1);
/// Pause between two snapshots while idle. The first change still reaches the status within 2 s.
const AT_REST: Duration = Duration::from_millis(1_500);
/// Maximum of the groups without a resource that are reported.
const MAX_UNMANAGED: usize = 20;

/// Reads one stream again and again.
pub(super) struct Observer {
    target: Target,
    monitor: Monitor,
    members: Mutex<BTreeMap<String, Member>>,
    read_now: Notify,
    /// Snapshots that were begun.
    begun: AtomicU64,
    /// The last snapshot that was finished, by its number.
    finished: watch::Sender<u64>,
    pub(super) stop: CancellationToken,
}

/// A resource whose group is on the stream.
struct Member {
    resource: ResourceId,
    request: GroupRequest,
    at_work: bool,
    progress: Option<Progress>,
}

impl Observer {
    pub(super) fn new(target: Target, redis: RedisConfig, stop: CancellationToken) -> Self {
        let monitor = Monitor::new(redis, target.stream.clone(), LIMIT);
        Self {
            target,
            monitor,
            members: Mutex::default(),
            read_now: Notify::new(),
            begun: AtomicU64::new(0),
            finished: watch::Sender::new(0),
            stop,
        }
    }

    /// Adds or updates a resource; a new one does not wait for the next pause to end.
    pub(super) fn join(&self, resource: &ResourceId, group: &GroupName, at_work: bool) {
        let dead_letters = self.target.stream.dead_letters(group);
        let request = GroupRequest { group: group.clone(), dead_letters };
        let mut members = locked(&self.members);
        let known = members.get_mut(&resource.uid).filter(|member| member.request == request);
        if let Some(member) = known {
            member.at_work = at_work;
            return;
        }
        let resource = resource.clone();
        let member = Member { resource, request, at_work, progress: None };
        members.insert(member.resource.uid.clone(), member);
        drop(members);
        self.read_now.notify_one();
    }

    /// Removes a resource; returns true where it was the last one.
    pub(super) fn leave(&self, uid: &str, metrics: &Metrics) -> bool {
        let mut members = locked(&self.members);
        if let Some(member) = members.remove(uid) {
            metrics.forget_group(&self.labels(&member));
        }
        members.is_empty()
    }

    /// Returns what was last read of a resource's group; `None` before there was anything.
    pub(super) fn state(&self, uid: &str) -> Option<RedisState> {
        let members = locked(&self.members);
        members.get(uid)?.progress.as_ref().map(|progress| progress.state.clone())
    }

    /// Waits for a snapshot that begins after this call.
    pub(super) async fn refresh(&self) {
        let awaited = self.begun.load(Ordering::SeqCst) + 1;
        let mut finished = self.finished.subscribe();
        self.read_now.notify_one();
        let read = finished.wait_for(|finished| *finished >= awaited);
        // Each snapshot has its own limit; this one is for an observer that is being stopped.
        tokio::time::timeout(2 * LIMIT, read).await.ok();
    }

    /// Creates a group if it is missing, and declares it, on the connection of the last snapshot.
    pub(super) async fn ensure_group(
        &self,
        group: &GroupName,
        request: &EnsureGroup,
    ) -> Result<EnsuredGroup, Error> {
        let mut connection = self.monitor.connection().await?;
        admin::ensure_group(&mut connection, &self.target.stream, group, request).await
    }

    /// Takes snapshots of the stream until it is stopped.
    pub(super) async fn run(&self, shared: &Shared) {
        let mut last_failure = None;
        loop {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let (asked, requests): (BTreeSet<String>, Vec<GroupRequest>) = locked(&self.members)
                .iter()
                .map(|(uid, member)| (uid.clone(), member.request.clone()))
                .unzip();
            let read = self.monitor.read(&requests).await;
            let read = read.map_err(|error| ReadFailure::from(&error));
            let up = !matches!(read, Err(ReadFailure::Unreachable(_) | ReadFailure::AuthFailed(_)));
            self.log_failure(last_failure.as_ref(), read.as_ref().err());
            last_failure = read.as_ref().err().cloned();
            let stream = self.target.stream.as_str();
            shared.metrics.set_redis_up(&self.target.endpoint, stream, Some(up));
            let busy = self.publish(shared, read, &asked);
            self.finished.send_replace(number);
            let pause = if busy || last_failure.is_some() { MOVING } else { AT_REST };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.read_now.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        shared.metrics.set_redis_up(&self.target.endpoint, self.target.stream.as_str(), None);
        for member in locked(&self.members).values() {
            // Another replica has these metrics from now on.
            shared.metrics.forget_group(&self.labels(member));
        }
    }

    /// Sets the state of every resource, and requeues those for which something is new; returns true while something
    /// moves. One that joined while Redis was read waits for the next snapshot, which has its group too.
    fn publish(
        &self,
        shared: &Shared,
        read: Result<Arc<Snapshot>, ReadFailure>,
        asked: &BTreeSet<String>,
    ) -> bool {
        let unmanaged = read.as_ref().map_or(Vec::new(), |snapshot| {
            let declared = shared.declared(&self.target);
            let groups = snapshot.stream.groups.keys().filter(|group| !declared.contains(*group));
            groups.take(MAX_UNMANAGED).cloned().collect()
        });
        let mut members = locked(&self.members);
        let mut busy = false;
        for (_, member) in members.iter_mut().filter(|(uid, _)| asked.contains(*uid)) {
            let state = match &read {
                Ok(snapshot) => {
                    let view = GroupView::new(Arc::clone(snapshot), member.request.group.as_str());
                    RedisState::Read(Box::new(GroupSnapshot::new(view, unmanaged.clone())))
                }
                Err(failure) => RedisState::Failed(failure.clone()),
            };
            shared.metrics.set_group(&self.labels(member), &state.numbers());
            let before = member.progress.as_ref();
            let (progress, is_new) = Progress::advance(before, state, member.at_work, now());
            busy |= progress.is_moving();
            member.progress = Some(progress);
            if is_new {
                shared.requeue.now(&member.resource.namespace, &member.resource.name);
            }
        }
        busy
    }

    /// Writes one log line when the stream cannot be read, for each cause, and one when it can be read again.
    fn log_failure(&self, before: Option<&ReadFailure>, failure: Option<&ReadFailure>) {
        let (endpoint, stream) = (&self.target.endpoint, &self.target.stream);
        match (before, failure) {
            (before, Some(failure)) if before != Some(failure) => {
                let why = failure.message();
                tracing::warn!(%endpoint, %stream, why, "cannot read the stream");
            }
            (Some(_), None) => tracing::info!(%endpoint, %stream, "the stream can be read again"),
            _ => {}
        }
    }

    fn labels(&self, member: &Member) -> GroupLabels {
        GroupLabels {
            namespace: member.resource.namespace.clone(),
            name: member.resource.name.clone(),
            stream: self.target.stream.to_string(),
            group: member.request.group.to_string(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge where time enters the decisions")]
fn now() -> Instant {
    Instant::now()
}
