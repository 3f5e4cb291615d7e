//! A subscriber of the library inside the test, whose handler notes what it gets.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::config::RedisConfig;
use eventbus::consume::{Readiness, Subscriber, SubscriberConfig};
use eventbus::{Answer, ConsumerName, Delivery, Error, GroupName, Metrics, StreamKey};
use eventbus_core::retry::backoff::Backoff;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::wait;

/// A deadline far beyond what anything here takes, on a busy machine too.
pub const LONG: Duration = Duration::from_secs(60);

/// A handler call.
pub type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A group `g` on stream `s`, beginning at the stream's start, with times short enough for a test.
#[must_use]
pub fn config() -> SubscriberConfig {
    let (stream, group) = (
        StreamKey::new("s").expect("the name is right"),
        GroupName::new("g").expect("the name is right"),
    );
    let second = Duration::from_secs(1);
    let backoff = Backoff { initial: second / 10, max: second, multiplier: 2, jitter_percent: 0 };
    let consumer = ConsumerName::new("pod").expect("the name is right");
    let mut config = SubscriberConfig::new(stream, group, consumer);
    config.start = Some("0".parse().expect("it is a start"));
    config.handler = "test".to_owned();
    config.delivery.timeout = LONG;
    config.delivery.concurrency = 4;
    config.delivery.batch_size = 8;
    config.delivery.lease = 5 * second;
    config.delivery.backoff = backoff;
    config.delivery.grace = LONG;
    config
}

/// A handler that is done with an event once `gate` has a permit for it.
pub fn done_when(
    gate: &Arc<Semaphore>,
) -> impl Fn(Arc<Delivery>) -> Answering + Send + Sync + 'static + use<> {
    let gate = gate.clone();
    move |_| {
        let gate = gate.clone();
        Box::pin(async move {
            gate.acquire().await.expect("nobody closes the gate").forget();
            Answer::Done
        })
    }
}

/// Deliveries that the handler received, in order: payload and attempt.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<(String, u32)>>>);

impl Seen {
    /// Notes a delivery.
    pub fn note(&self, delivery: &Delivery) {
        let payload = delivery.event.payload().as_str().to_owned();
        self.0.lock().expect("nobody panics with it").push((payload, delivery.attempt));
    }

    /// All deliveries so far.
    #[must_use]
    pub fn all(&self) -> Vec<(String, u32)> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    /// Returns the number of deliveries of each payload.
    #[must_use]
    pub fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for (payload, _) in self.all() {
            *times.entry(payload).or_default() += 1;
        }
        times
    }
}

/// A subscriber that runs; dropping it is a crash.
pub struct Running {
    /// Deliveries to its handler.
    pub seen: Seen,
    /// Readiness, set once it found its group.
    pub readiness: Readiness,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Subscribes with a handler that notes each delivery and answers with what `answer` makes of it.
    #[must_use]
    pub fn start<F>(
        redis: RedisConfig,
        config: SubscriberConfig,
        answer: impl Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let (seen, stop) = (Seen::default(), CancellationToken::new());
        let metrics = Metrics::register(&mut Registry::default());
        let subscriber = Subscriber::new(redis, config, metrics);
        let readiness = subscriber.readiness();
        let notes = seen.clone();
        let handler = move |delivery: Arc<Delivery>| -> Answering {
            notes.note(&delivery);
            Box::pin(answer(delivery))
        };
        let task = tokio::spawn(subscriber.run(handler, stop.clone()));
        Self { seen, readiness, stop, task }
    }

    /// Asks it to finish and leave, and waits until it has.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.stop.cancel();
        // Its grace is as long as the deadline of other waits.
        let ended = wait::within("the subscriber ends", 2 * LONG, &mut self.task).await;
        ended.expect("it does not panic")
    }

    /// Asks it to finish, without waiting.
    pub fn cancel(&self) {
        self.stop.cancel();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a command given as one line of words.
pub async fn command(conn: &mut Connection, line: &str) -> ::redis::Value {
    let mut words = line.split(' ');
    let mut command = ::redis::cmd(words.next().expect("there is a word"));
    command.arg(words.collect::<Vec<_>>()).query_async(conn).await.expect("the server takes it")
}

/// Appends an event with this payload in the plainest way, and answers its entry's ID.
pub async fn xadd(conn: &mut Connection, payload: &str) -> String {
    let fields = [("type", "t"), ("payload", payload), ("source", "test"), ("ts", "")];
    ::redis::cmd("XADD")
        .arg("s")
        .arg("*")
        .arg(&fields)
        .query_async(conn)
        .await
        .expect("the server takes it")
}

/// Waits until so many consumers have each written this many heartbeats more, and returns whether all came in time, so
/// that no lease can have ended: a busy machine may be late, or end a connection.
pub async fn heartbeats(
    conn: &mut Connection,
    consumers: usize,
    times: usize,
    lease: Duration,
) -> bool {
    let before = connections(conn).await;
    let key = config().stream.consumers_key(&config().group);
    let mut written: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    wait::until("heartbeats are written", LONG, async || {
        let fields: BTreeMap<String, String> =
            ::redis::cmd("HGETALL").arg(&key).query_async(&mut conn.clone()).await.ok()?;
        for (field, state) in fields.into_iter().filter(|(field, _)| field.starts_with("c:")) {
            let state: serde_json::Value = serde_json::from_str(&state).expect("it is JSON");
            let at = state["at"].as_u64().expect("a heartbeat has a time");
            written.entry(field).or_default().insert(at);
        }
        // The first one may have been there before.
        let enough = written.values().filter(|times_of| times_of.len() > times).count();
        (enough >= consumers).then_some(())
    })
    .await;
    let gaps = written.values().flat_map(|at| at.iter().zip(at.iter().skip(1)));
    let longest = gaps.map(|(before, after)| after - before).max().unwrap_or(0);
    Duration::from_millis(longest) < lease / 2 && connections(conn).await == before
}

/// Connections that the server has taken so far.
async fn connections(conn: &mut Connection) -> String {
    let info = ::redis::cmd("INFO").arg("stats").query_async(conn).await;
    let info: String = info.expect("the server tells its statistics");
    let line = info.lines().find(|line| line.starts_with("total_connections_received:"));
    line.expect("they are counted").to_owned()
}

/// Returns the number of pending entries of the group, reserved names included.
pub async fn pending(conn: &mut Connection) -> u64 {
    let reply: (u64, ::redis::Value, ::redis::Value, ::redis::Value) = ::redis::cmd("XPENDING")
        .arg("s")
        .arg("g")
        .query_async(conn)
        .await
        .expect("the group is there");
    reply.0
}

/// Waits until the group has delivered everything and nothing is pending.
pub async fn drained(conn: &mut Connection) {
    wait::until("the group is drained", LONG, async || {
        let mut info = ::redis::cmd("XINFO");
        let groups = info.arg("GROUPS").arg("s");
        let groups: ::redis::streams::StreamInfoGroupsReply =
            groups.query_async(&mut conn.clone()).await.ok()?;
        let group = groups.groups.into_iter().find(|group| group.name == "g")?;
        let mut last = ::redis::cmd("XREVRANGE");
        let last = last.arg("s").arg("+").arg("-").arg("COUNT").arg(1);
        // The fields may be any bytes.
        let last: Vec<(String, ::redis::Value)> = last.query_async(&mut conn.clone()).await.ok()?;
        let all = last.first().is_none_or(|(id, _)| *id == group.last_delivered_id);
        (group.pending == 0 && all).then_some(())
    })
    .await;
}
