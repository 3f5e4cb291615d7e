//! The observer of one stream: a connection of its own, one snapshot for all its groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventbus::admin;
use eventbus::admin::{Connection, GroupCreation};
use eventbus::config::RedisConfig;
use eventbus::observe::{
    GroupRequest, Lag, LagReader, ServerInfo, StreamFacts, server_info, snapshot,
};
use eventbus::{Error, GroupName, Start, chain};
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
/// Maximum age of what is known of the server: a primary may have become a replica on the same connection.
const MAX_SERVER_INFO_AGE: Duration = Duration::from_secs(15);

/// Reads one stream again and again.
pub(super) struct Observer {
    target: Target,
    redis: RedisConfig,
    members: Mutex<BTreeMap<String, Member>>,
    connection: Mutex<Option<Connection>>,
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

/// What lasts from snapshot to snapshot besides the groups.
#[derive(Default)]
struct Session {
    lags: LagReader,
    server: Option<(ServerInfo, Option<Instant>)>,
    failure: Option<ReadFailure>,
}

impl Observer {
    pub(super) fn new(target: Target, redis: RedisConfig, stop: CancellationToken) -> Self {
        Self {
            target,
            redis,
            members: Mutex::default(),
            connection: Mutex::default(),
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

    /// Creates a group on the connection of the last snapshot.
    pub(super) async fn create_group(
        &self,
        group: &GroupName,
        start: &Start,
    ) -> Result<GroupCreation, Error> {
        let connection = locked(&self.connection).clone();
        let mut connection = match connection {
            Some(connection) => connection,
            None => eventbus::admin::Connection::open(&self.redis, LIMIT).await?,
        };
        admin::create(&mut connection, &self.target.stream, group, start).await
    }

    /// Takes snapshots of the stream until it is stopped.
    pub(super) async fn run(&self, shared: &Shared) {
        let mut session = Session::default();
        loop {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let (asked, requests): (BTreeSet<String>, Vec<GroupRequest>) = locked(&self.members)
                .iter()
                .map(|(uid, member)| (uid.clone(), member.request.clone()))
                .unzip();
            let read = tokio::time::timeout(LIMIT, self.read(&mut session, &requests)).await;
            let read = read.unwrap_or_else(|_| {
                let endpoint = self.redis.endpoint();
                Err(ReadFailure::Unreachable(format!("Redis at {endpoint} does not answer")))
            });
            let up = !matches!(read, Err(ReadFailure::Unreachable(_) | ReadFailure::AuthFailed(_)));
            if !up {
                // The next snapshot begins with a new connection, and asks the new server what it is.
                *locked(&self.connection) = None;
                session.server = None;
            }
            self.log_failure(&mut session, read.as_ref().err());
            let stream = self.target.stream.as_str();
            shared.metrics.set_redis_up(&self.target.endpoint, stream, Some(up));
            let busy = self.publish(shared, read, &asked);
            self.finished.send_replace(number);
            let pause = if busy || session.failure.is_some() { MOVING } else { AT_REST };
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

    async fn read(
        &self,
        session: &mut Session,
        requests: &[GroupRequest],
    ) -> Result<Snapshot, ReadFailure> {
        let mut connection = self.connected().await.map_err(|error| read_failure(&error))?;
        let known = session.server.take().filter(|(_, read)| {
            read.is_some_and(|read| now().saturating_duration_since(read) < MAX_SERVER_INFO_AGE)
        });
        let (server, read) = match known {
            Some(known) => known,
            None => {
                let server = server_info(&mut connection, &self.redis.endpoint())
                    .await
                    .map_err(|error| read_failure(&error))?;
                (server, Some(now()))
            }
        };
        session.server = Some((server.clone(), read));
        self.check(&server)?;
        let stream = &self.target.stream;
        let facts = snapshot(&mut connection, stream, requests)
            .await
            .map_err(|error| read_failure(&error))?;
        let lags = session.lags.read(&mut connection, stream, &facts, &server).await;
        let lags = lags.map_err(|error| read_failure(&error))?;
        Ok(Snapshot { facts, lags, server })
    }

    fn check(&self, server: &ServerInfo) -> Result<(), ReadFailure> {
        let endpoint = self.redis.endpoint();
        if server.is_replica() {
            let text = format!("{endpoint} is a replica; the endpoint must name the primary");
            return Err(ReadFailure::Unreachable(text));
        }
        if !server.is_supported() {
            let text = format!(
                "{} {} at {endpoint} is too old: Redis 7.0 or Valkey 7.2 is needed",
                server.name, server.version
            );
            return Err(ReadFailure::UnsupportedServer(text));
        }
        Ok(())
    }

    async fn connected(&self) -> Result<Connection, Error> {
        let present = locked(&self.connection).clone();
        if let Some(connection) = present {
            return Ok(connection);
        }
        let mut connection = eventbus::admin::Connection::open(&self.redis, LIMIT).await?;
        // A server that wants a password says so with the first command; alone, its answer keeps its code.
        redis::cmd("PING").exec_async(&mut connection).await.map_err(|source| {
            let endpoint = self.redis.endpoint();
            Error::Server { operation: "ping Redis", endpoint, source: source.into() }
        })?;
        *locked(&self.connection) = Some(connection.clone());
        Ok(connection)
    }

    /// Sets the state of every resource, and requeues those for which something is new; returns true while something
    /// moves. One that joined while Redis was read waits for the next snapshot, which has its group too.
    fn publish(
        &self,
        shared: &Shared,
        read: Result<Snapshot, ReadFailure>,
        asked: &BTreeSet<String>,
    ) -> bool {
        let unmanaged = read.as_ref().map_or(Vec::new(), |snapshot| {
            let declared = shared.declared(&self.target);
            let groups = snapshot.facts.groups.keys().filter(|group| !declared.contains(*group));
            groups.take(MAX_UNMANAGED).cloned().collect()
        });
        let mut members = locked(&self.members);
        let mut busy = false;
        for (_, member) in members.iter_mut().filter(|(uid, _)| asked.contains(*uid)) {
            let state = match &read {
                Ok(snapshot) => snapshot.of_group(member.request.group.as_str(), &unmanaged),
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
    fn log_failure(&self, session: &mut Session, failure: Option<&ReadFailure>) {
        let (endpoint, stream) = (&self.target.endpoint, &self.target.stream);
        match (&session.failure, failure) {
            (before, Some(failure)) if before.as_ref() != Some(failure) => {
                let why = failure.message();
                tracing::warn!(%endpoint, %stream, why, "cannot read the stream");
            }
            (Some(_), None) => tracing::info!(%endpoint, %stream, "the stream can be read again"),
            _ => {}
        }
        session.failure = failure.cloned();
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

/// All groups of the stream at one moment.
struct Snapshot {
    facts: StreamFacts,
    lags: BTreeMap<String, Lag>,
    server: ServerInfo,
}

impl Snapshot {
    fn of_group(&self, group: &str, unmanaged: &[String]) -> RedisState {
        let lag = self.lags.get(group).copied().unwrap_or(Lag::UNKNOWN);
        let mut snapshot = GroupSnapshot::new(&self.facts, group, lag, &self.server);
        snapshot.unmanaged = unmanaged.to_vec();
        RedisState::Read(Box::new(snapshot))
    }
}

/// Classifies an error of the library.
fn read_failure(error: &Error) -> ReadFailure {
    let text = chain(error);
    if error.is_wrong_type() {
        ReadFailure::WrongType(text)
    } else if error.is_auth() || matches!(error, Error::File { .. }) {
        ReadFailure::AuthFailed(text)
    } else {
        ReadFailure::Unreachable(text)
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge where time enters the decisions")]
fn now() -> Instant {
    Instant::now()
}
