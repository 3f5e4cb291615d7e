//! The operator's observers of streams: one for all groups of a stream, which requeue only for what is new.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus_operator::kubernetes::{MaybeInvalid, Requeue};
use eventbus_operator::metrics::Metrics;
use eventbus_operator::reconcile::desired::Desired;
use eventbus_operator::reconcile::validate::validate;
use eventbus_operator::redis::GroupKey;
use eventbus_operator::redis::endpoints::Endpoints;
use eventbus_operator::redis::observers::Observers;
use eventbus_operator::redis::state::{GroupSnapshot, ReadFailure, RedisState};
use kube::runtime::reflector::ObjectRef;
use prometheus_client::registry::Registry;
use serde_json::json;
use tests::redis::RedisServer;
use tests::{rules, wait};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(60);

struct Fixture {
    redis: RedisServer,
    conn: Connection,
    endpoints: Arc<Endpoints>,
    observers: Observers,
    requeued: UnboundedReceiver<ObjectRef<MaybeInvalid>>,
}

impl Fixture {
    async fn start() -> Self {
        let redis = RedisServer::start();
        let conn = redis.connection().await;
        let file = json!({"endpoints": [{"name": "default", "url": redis.url()}]}).to_string();
        let endpoints = Arc::new(Endpoints::parse(&file, &Path::exists).unwrap());
        let (queue, requeued) = unbounded_channel();
        let requeue = Requeue::new(vec![(None, queue)]);
        let metrics = Metrics::register(&mut Registry::default());
        let stop = CancellationToken::new();
        let observers = Observers::new(Arc::clone(&endpoints), metrics, requeue, stop);
        Self { redis, conn, endpoints, observers, requeued }
    }

    async fn run(&mut self, command: &str) {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).exec_async(&mut self.conn).await.unwrap();
    }

    /// The resource `name` for a group of its own name on stream `s`.
    fn desired(&self, name: &str) -> Desired {
        let mut resource = rules::resource(name, &rules::spec(json!({})));
        resource.metadata.uid = Some(format!("uid-{name}"));
        validate(&resource, &self.endpoints, "i", None).unwrap()
    }

    fn join(&self, desired: &Desired) {
        self.observers.join(&desired.resource, &desired.target, &desired.group, true);
    }

    fn state(&self, desired: &Desired) -> Option<RedisState> {
        self.observers.state(&desired.target, &desired.resource.uid)
    }

    async fn snapshot(&self, desired: &Desired) -> GroupSnapshot {
        wait::until("the group was read", SOON, async || match self.state(desired) {
            Some(RedisState::Read(snapshot)) => Some(*snapshot),
            _ => None,
        })
        .await
    }

    async fn failure(&self, desired: &Desired) -> ReadFailure {
        wait::until("reading failed", SOON, async || match self.state(desired) {
            Some(RedisState::Failed(failure)) => Some(failure),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn a_resource_that_joins_while_redis_is_read_gets_a_snapshot_with_its_group() {
    let mut fixture = Fixture::start().await;
    fixture.run("XGROUP CREATE s first $ MKSTREAM").await;
    fixture.run("XGROUP CREATE s second $").await;
    let (first, second) = (fixture.desired("first"), fixture.desired("second"));
    fixture.join(&first);
    fixture.snapshot(&first).await;
    fixture.redis.pause();
    let asking = fixture.observers.refresh(&first.target);
    let coming = async {
        tokio::task::yield_now().await;
        fixture.join(&second);
        fixture.redis.resume();
    };
    tokio::join!(asking, coming);
    let snapshot = fixture.snapshot(&second).await;
    let letters = snapshot.view.facts().unwrap().dead_letters;
    assert!(letters.is_some(), "its dead letters were not asked for");
}

#[tokio::test]
async fn only_groups_that_no_resource_asks_for_are_unmanaged() {
    let mut fixture = Fixture::start().await;
    for group in ["first", "declared", "foreign"] {
        fixture.run(&format!("XGROUP CREATE s {group} $ MKSTREAM")).await;
    }
    let address = fixture.endpoints.address("default");
    let key = |group: &str| GroupKey {
        address: address.clone(),
        stream: "s".into(),
        group: group.into(),
    };
    let first = fixture.desired("first");
    fixture.observers.declare("uid-first", key("first"));
    fixture.observers.declare("uid-declared", key("declared"));
    fixture.join(&first);
    assert_eq!(fixture.snapshot(&first).await.unmanaged, ["foreign"]);
}

#[tokio::test]
async fn a_resource_is_requeued_for_what_is_new_and_for_its_rest_and_not_again() {
    let mut fixture = Fixture::start().await;
    fixture.run("XGROUP CREATE s first 0 MKSTREAM").await;
    let first = fixture.desired("first");
    fixture.join(&first);
    fixture.snapshot(&first).await;
    fixture.run("XADD s * type t payload {}").await;
    wait::until("the event was read, and nothing moves", SOON, async || {
        let snapshot = fixture.snapshot(&first).await;
        (snapshot.view.lag().value == Some(1) && !snapshot.is_moving).then_some(())
    })
    .await;
    // The first snapshot, the change, the rest after it.
    let mut count = 0;
    while fixture.requeued.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 3);
    for _ in 0..3 {
        fixture.observers.refresh(&first.target).await;
    }
    assert!(fixture.requeued.try_recv().is_err(), "requeued for nothing");
}

#[tokio::test]
async fn a_redis_with_a_wrong_password_is_reported_as_such() {
    let mut fixture = Fixture::start().await;
    let first = fixture.desired("first");
    fixture.run("CONFIG SET requirepass secret").await;
    fixture.join(&first);
    let failure = fixture.failure(&first).await;
    assert!(matches!(failure, ReadFailure::AuthFailed(_)), "{failure:?}");
    fixture.run("CONFIG SET requirepass ").await;
    fixture.snapshot(&first).await;
}

#[tokio::test]
async fn a_replica_is_no_redis_to_work_on() {
    let mut fixture = Fixture::start().await;
    // Of a primary that is not there: it stays a replica.
    fixture.run("REPLICAOF 127.0.0.1 1").await;
    let first = fixture.desired("first");
    fixture.join(&first);
    let failure = fixture.failure(&first).await;
    assert!(failure.message().contains("is a replica"), "{failure:?}");
}

#[tokio::test]
async fn a_stream_that_no_resource_asks_for_is_no_longer_observed() {
    let mut fixture = Fixture::start().await;
    fixture.run("XGROUP CREATE s first 0 MKSTREAM").await;
    let first = fixture.desired("first");
    fixture.join(&first);
    fixture.snapshot(&first).await;
    fixture.observers.leave(&first.resource.uid);
    assert_eq!(fixture.state(&first), None);
    // Ends only when the stream's task has ended.
    wait::within("the stream's task ends", SOON, fixture.observers.close()).await;
}
