//! One stream's task: its own connection, one sweep for all its groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventbus::admin;
use eventbus::admin::Connection;
use eventbus::admin::GroupCreation;
use eventbus::config::RedisConfig;
use eventbus::observe::{
    GroupRequest, Lag, LagReader, ServerInfo, StreamFacts, server_info, snapshot,
};
use eventbus::{Error, GroupName, Start, chain};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::metrics::GroupLabels;
use crate::observed::{GroupView, RedisView, Trouble};
use crate::wanted::{ResourceId, Target};

use super::progress::Progress;
use super::{Shared, locked};

/// A look at Redis is over by then, connecting included.
const BUDGET: Duration = Duration::from_secs(2);
/// Between two sweeps while something moves, or Redis is away.
const MOVING: Duration = Duration::from_secs(1);
/// Between two sweeps otherwise: with the write it is still within 2 s that the first change is told.
const AT_REST: Duration = Duration::from_millis(1_500);
/// Groups without a resource that are told at most.
const MOST_UNMANAGED: usize = 20;
/// How old what the server says of itself may be: a primary may have become a replica on the same connection.
const SERVER_INFO: Duration = Duration::from_secs(15);

/// A stream that is looked at.
pub(super) struct Stream {
    target: Target,
    redis: RedisConfig,
    members: Mutex<BTreeMap<String, Member>>,
    connection: Mutex<Option<Connection>>,
    wake: Notify,
    /// Sweeps that were begun.
    begun: AtomicU64,
    /// The last sweep that was finished, by its number.
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

/// What lasts from sweep to sweep besides the groups.
#[derive(Default)]
struct Session {
    lags: LagReader,
    server: Option<(ServerInfo, Option<Instant>)>,
    trouble: Option<Trouble>,
}

impl Stream {
    pub(super) fn new(target: Target, redis: RedisConfig, stop: CancellationToken) -> Self {
        Self {
            target,
            redis,
            members: Mutex::default(),
            connection: Mutex::default(),
            wake: Notify::new(),
            begun: AtomicU64::new(0),
            finished: watch::Sender::new(0),
            stop,
        }
    }

    /// Adds or updates a resource; a new one is looked at without waiting for the next sweep.
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
        self.wake.notify_one();
    }

    /// Removes a resource; `true` when it was the last one.
    pub(super) fn leave(&self, uid: &str, shared: &Shared) -> bool {
        let mut members = locked(&self.members);
        if let Some(member) = members.remove(uid) {
            shared.metrics.forget_group(&self.labels(&member));
        }
        members.is_empty()
    }

    /// What the last sweep told about a resource's group; `None` before there was one.
    pub(super) fn view(&self, uid: &str) -> Option<RedisView> {
        let members = locked(&self.members);
        members.get(uid)?.progress.as_ref().map(|progress| progress.view.clone())
    }

    /// Waits for a sweep that begins after this call.
    pub(super) async fn refresh(&self) {
        let awaited = self.begun.load(Ordering::SeqCst) + 1;
        let mut finished = self.finished.subscribe();
        self.wake.notify_one();
        let swept = finished.wait_for(|finished| *finished >= awaited);
        // Each sweep has its own limit; this one is for the case that the task is being stopped.
        tokio::time::timeout(2 * BUDGET, swept).await.ok();
    }

    /// Creates a group on the connection of the last sweep.
    pub(super) async fn create_group(
        &self,
        group: &GroupName,
        start: &Start,
    ) -> Result<GroupCreation, Error> {
        let connection = locked(&self.connection).clone();
        let mut connection = match connection {
            Some(connection) => connection,
            None => eventbus::admin::Connection::open(&self.redis, BUDGET).await?,
        };
        admin::create(&mut connection, &self.target.stream, group, start).await
    }

    /// Looks at the stream again and again, until it is stopped.
    pub(super) async fn run(&self, shared: &Shared) {
        let mut session = Session::default();
        loop {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let (asked, requests): (BTreeSet<String>, Vec<GroupRequest>) = locked(&self.members)
                .iter()
                .map(|(uid, member)| (uid.clone(), member.request.clone()))
                .unzip();
            let looked = tokio::time::timeout(BUDGET, self.look(&mut session, &requests)).await;
            let looked = looked.unwrap_or_else(|_| {
                let endpoint = self.redis.endpoint();
                Err(Trouble::Unreachable(format!("Redis at {endpoint} does not answer")))
            });
            if matches!(looked, Err(Trouble::Unreachable(_) | Trouble::AuthFailed(_))) {
                // The next look begins with a new connection, and with what the new server says of itself.
                *locked(&self.connection) = None;
                session.server = None;
            }
            self.tell_trouble(&mut session, looked.as_ref().err());
            let up = !matches!(looked, Err(Trouble::Unreachable(_) | Trouble::AuthFailed(_)));
            let stream = self.target.stream.as_str();
            shared.metrics.set_redis_up(&self.target.endpoint, stream, Some(up));
            let busy = self.hand_out(shared, looked, &asked);
            self.finished.send_replace(number);
            let pause = if busy || session.trouble.is_some() { MOVING } else { AT_REST };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        shared.metrics.set_redis_up(&self.target.endpoint, self.target.stream.as_str(), None);
        for member in locked(&self.members).values() {
            // Another replica tells these from now on.
            shared.metrics.forget_group(&self.labels(member));
        }
    }

    async fn look(
        &self,
        session: &mut Session,
        requests: &[GroupRequest],
    ) -> Result<Look, Trouble> {
        let mut connection = self.connected().await.map_err(|error| trouble(&error))?;
        let known = session.server.take().filter(|(_, read)| {
            read.is_some_and(|read| now().saturating_duration_since(read) < SERVER_INFO)
        });
        let (server, read) = match known {
            Some(known) => known,
            None => {
                let server = server_info(&mut connection, &self.redis.endpoint())
                    .await
                    .map_err(|error| trouble(&error))?;
                (server, Some(now()))
            }
        };
        session.server = Some((server.clone(), read));
        self.usable(&server)?;
        let stream = &self.target.stream;
        let facts =
            snapshot(&mut connection, stream, requests).await.map_err(|error| trouble(&error))?;
        let lags = session.lags.read(&mut connection, stream, &facts, &server).await;
        let lags = lags.map_err(|error| trouble(&error))?;
        Ok(Look { facts, lags, server })
    }

    fn usable(&self, server: &ServerInfo) -> Result<(), Trouble> {
        let endpoint = self.redis.endpoint();
        if server.is_replica() {
            let text = format!("{endpoint} is a replica; the endpoint must name the primary");
            return Err(Trouble::Unreachable(text));
        }
        if !server.is_supported() {
            let text = format!(
                "{} {} at {endpoint} is too old: Redis 7.0 or Valkey 7.2 is needed",
                server.name, server.version
            );
            return Err(Trouble::UnsupportedServer(text));
        }
        Ok(())
    }

    async fn connected(&self) -> Result<Connection, Error> {
        let present = locked(&self.connection).clone();
        if let Some(connection) = present {
            return Ok(connection);
        }
        let mut connection = eventbus::admin::Connection::open(&self.redis, BUDGET).await?;
        // A server that wants a password says so with the first command; alone, its answer keeps its code.
        redis::cmd("PING").exec_async(&mut connection).await.map_err(|source| {
            let endpoint = self.redis.endpoint();
            Error::Server { operation: "ping Redis", endpoint, source: source.into() }
        })?;
        *locked(&self.connection) = Some(connection.clone());
        Ok(connection)
    }

    /// Gives every resource its view, and wakes those for which something is new; `true` while something moves.
    /// One that came while Redis was asked waits for the next look, which asks for its group too.
    fn hand_out(
        &self,
        shared: &Shared,
        looked: Result<Look, Trouble>,
        asked: &BTreeSet<String>,
    ) -> bool {
        let unmanaged = looked.as_ref().map_or(Vec::new(), |look| {
            let declared = shared.declared(&self.target);
            let groups = look.facts.groups.keys().filter(|group| !declared.contains(*group));
            groups.take(MOST_UNMANAGED).cloned().collect()
        });
        let mut members = locked(&self.members);
        let mut busy = false;
        for (_, member) in members.iter_mut().filter(|(uid, _)| asked.contains(*uid)) {
            let view = match &looked {
                Ok(look) => look.view(member.request.group.as_str(), &unmanaged),
                Err(trouble) => RedisView::Trouble(trouble.clone()),
            };
            shared.metrics.set_group(&self.labels(member), &view);
            let before = member.progress.as_ref();
            let (progress, is_new) = Progress::advance(before, view, member.at_work, now());
            busy |= progress.is_moving();
            member.progress = Some(progress);
            if is_new {
                shared.wake.wake(&member.resource);
            }
        }
        busy
    }

    /// One log line when Redis is lost, and one when it is back.
    fn tell_trouble(&self, session: &mut Session, trouble: Option<&Trouble>) {
        let (endpoint, stream) = (&self.target.endpoint, &self.target.stream);
        match (&session.trouble, trouble) {
            (before, Some(trouble)) if before.as_ref() != Some(trouble) => {
                let why = trouble.message();
                tracing::warn!(%endpoint, %stream, why, "cannot look at the stream");
            }
            (Some(_), None) => tracing::info!(%endpoint, %stream, "the stream can be seen again"),
            _ => {}
        }
        session.trouble = trouble.cloned();
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

/// What one look brought.
struct Look {
    facts: StreamFacts,
    lags: BTreeMap<String, Lag>,
    server: ServerInfo,
}

impl Look {
    fn view(&self, group: &str, unmanaged: &[String]) -> RedisView {
        let lag = self.lags.get(group).copied().unwrap_or(Lag::UNKNOWN);
        let mut view = GroupView::new(&self.facts, group, lag, &self.server);
        view.unmanaged = unmanaged.to_vec();
        RedisView::Seen(Box::new(view))
    }
}

/// What an error of the library means for a resource.
pub(super) fn trouble(error: &Error) -> Trouble {
    let text = chain(error);
    if error.is_wrong_type() {
        Trouble::WrongType(text)
    } else if error.is_auth() || matches!(error, Error::File { .. }) {
        Trouble::AuthFailed(text)
    } else {
        Trouble::Unreachable(text)
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge where time enters the decisions")]
fn now() -> Instant {
    Instant::now()
}
