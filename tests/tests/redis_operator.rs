//! The operator's looks at Redis: one for all groups of a stream, and waking only for what is new.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus_operator::claim::GroupKey;
use eventbus_operator::endpoints::Endpoints;
use eventbus_operator::metrics::Metrics;
use eventbus_operator::observed::{GroupView, RedisView, Trouble};
use eventbus_operator::sweeps::Sweeps;
use eventbus_operator::validate::validate;
use eventbus_operator::wake::{Guarded, Wake};
use eventbus_operator::wanted::Wanted;
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
    sweeps: Sweeps,
    woken: UnboundedReceiver<ObjectRef<Guarded>>,
}

impl Fixture {
    async fn start() -> Self {
        let redis = RedisServer::start();
        let conn = redis.connection().await;
        let file = json!({"endpoints": [{"name": "default", "url": redis.url()}]}).to_string();
        let endpoints = Arc::new(Endpoints::parse(&file, &Path::exists).unwrap());
        let (way, woken) = unbounded_channel();
        let wake = Wake::new(vec![(None, way)]);
        let metrics = Metrics::register(&mut Registry::default());
        let sweeps = Sweeps::new(Arc::clone(&endpoints), metrics, wake, CancellationToken::new());
        Self { redis, conn, endpoints, sweeps, woken }
    }

    async fn run(&mut self, command: &str) {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).exec_async(&mut self.conn).await.unwrap();
    }

    /// The resource `name` for a group of its own name on stream `s`.
    fn wanted(&self, name: &str) -> Wanted {
        let mut resource = rules::resource(name, &rules::spec(json!({})));
        resource.metadata.uid = Some(format!("uid-{name}"));
        validate(&resource, &self.endpoints, "i").unwrap()
    }

    async fn seen(&self, wanted: &Wanted) -> GroupView {
        wait::until("the group was looked at", SOON, async || match self.sweeps.view(wanted) {
            Some(RedisView::Seen(view)) => Some(*view),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn a_resource_that_comes_while_redis_is_asked_gets_a_look_that_asks_for_its_group() {
    let mut fixture = Fixture::start().await;
    fixture.run("XGROUP CREATE s first $ MKSTREAM").await;
    fixture.run("XGROUP CREATE s second $").await;
    let (first, second) = (fixture.wanted("first"), fixture.wanted("second"));
    fixture.sweeps.join(&first, true);
    fixture.seen(&first).await;
    fixture.redis.pause();
    let asking = fixture.sweeps.refresh(&first.target);
    let coming = async {
        tokio::task::yield_now().await;
        fixture.sweeps.join(&second, true);
        fixture.redis.resume();
    };
    tokio::join!(asking, coming);
    let view = fixture.seen(&second).await;
    let letters = view.group.unwrap().dead_letters;
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
    let first = fixture.wanted("first");
    fixture.sweeps.declare("uid-first", key("first"));
    fixture.sweeps.declare("uid-declared", key("declared"));
    fixture.sweeps.join(&first, true);
    assert_eq!(fixture.seen(&first).await.unmanaged, ["foreign"]);
}

#[tokio::test]
async fn a_resource_is_woken_for_what_is_new_and_for_its_rest_and_not_again() {
    let mut fixture = Fixture::start().await;
    fixture.run("XGROUP CREATE s first 0 MKSTREAM").await;
    let first = fixture.wanted("first");
    fixture.sweeps.join(&first, true);
    fixture.seen(&first).await;
    fixture.run("XADD s * type t payload {}").await;
    wait::until("the event was seen at rest", SOON, async || {
        let view = fixture.seen(&first).await;
        (view.lag.value == Some(1) && !view.is_moving).then_some(())
    })
    .await;
    // First sight, the change, the rest after it.
    let mut count = 0;
    while fixture.woken.try_recv().is_ok() {
        count += 1;
    }
    assert_eq!(count, 3);
    for _ in 0..3 {
        fixture.sweeps.refresh(&first.target).await;
    }
    assert!(fixture.woken.try_recv().is_err(), "woken for nothing");
}

#[tokio::test]
async fn a_redis_with_a_wrong_password_is_told_as_such() {
    let mut fixture = Fixture::start().await;
    let first = fixture.wanted("first");
    fixture.run("CONFIG SET requirepass secret").await;
    fixture.sweeps.join(&first, true);
    let trouble = wait::until("it is told", SOON, async || match fixture.sweeps.view(&first) {
        Some(RedisView::Trouble(trouble)) => Some(trouble),
        _ => None,
    })
    .await;
    assert!(matches!(trouble, Trouble::AuthFailed(_)), "{trouble:?}");
    fixture.run("CONFIG SET requirepass ").await;
    fixture.seen(&first).await;
}

#[tokio::test]
async fn a_replica_is_no_redis_to_work_on() {
    let mut fixture = Fixture::start().await;
    // Of a primary that is not there: it stays a replica.
    fixture.run("REPLICAOF 127.0.0.1 1").await;
    let first = fixture.wanted("first");
    fixture.sweeps.join(&first, true);
    let trouble = wait::until("it is told", SOON, async || match fixture.sweeps.view(&first) {
        Some(RedisView::Trouble(trouble)) => Some(trouble),
        _ => None,
    })
    .await;
    assert!(trouble.message().contains("is a replica"), "{trouble:?}");
}

#[tokio::test]
async fn a_stream_that_nobody_asks_for_any_more_is_left_alone() {
    let mut fixture = Fixture::start().await;
    fixture.run("XGROUP CREATE s first 0 MKSTREAM").await;
    let first = fixture.wanted("first");
    fixture.sweeps.join(&first, true);
    fixture.seen(&first).await;
    fixture.sweeps.leave(&first.resource.uid);
    assert_eq!(fixture.sweeps.view(&first), None);
    // Ends only when the stream's task has ended.
    wait::within("the stream's task ends", SOON, fixture.sweeps.close()).await;
}
