//! How soon, how seldom, and when not at all: writes, outages and their end.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::{Duration, Instant};

use eventbus::admin::Connection;
use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use serde_json::json;
use tests::api::{Namespace, RunningOperator, SOON, Setup, condition, state_of};
use tests::redis::RedisServer;
use tests::wait;

/// Within this, the first change after quiet is promised to stand in the status; a busy machine gets five times that.
const REPORT_LIMIT: Duration = Duration::from_secs(2);
/// The same for what comes to rest, and for the end of an outage.
const RECOVERED: Duration = Duration::from_secs(5);

struct Fixture {
    namespace: Namespace,
    redis: RedisServer,
    conn: Connection,
    operator: RunningOperator,
}

impl Fixture {
    /// A resource `orders` on stream `s` with a pod, at rest.
    async fn at_rest() -> Self {
        let (namespace, redis) = (Namespace::create().await, RedisServer::start());
        let conn = redis.connection().await;
        let operator = RunningOperator::start(&namespace, &redis).await;
        let fixture = Self { namespace, redis, conn, operator };
        fixture.namespace.apply("orders", json!({"replicas": 1})).await;
        fixture.namespace.run_pods("orders", 1).await;
        fixture.namespace.until_state("orders", "Idle").await;
        fixture
    }

    async fn publish(&mut self) {
        let mut add = redis::cmd("XADD");
        add.arg(&["s", "*", "type", "t", "payload", "{}"]);
        add.exec_async(&mut self.conn).await.unwrap();
    }

    /// How often the server ran each writing command, those of scripts among them.
    async fn writing_commands(&mut self) -> Vec<String> {
        let mut info = redis::cmd("INFO");
        info.arg("commandstats");
        let text: String = info.query_async(&mut self.conn).await.unwrap();
        let writes = [
            "xadd",
            "xgroup|create",
            "xgroup|setid",
            "xack",
            "xtrim",
            "xdel",
            "xclaim",
            "hset",
            "set",
            "del",
            "expire",
        ];
        let is_write = |line: &&str| {
            let name = line.strip_prefix("cmdstat_").and_then(|line| line.split(':').next());
            name.is_some_and(|name| writes.contains(&name))
        };
        // The calls alone: times change by themselves.
        let calls = |line: &str| line.split(',').next().unwrap_or_default().to_owned();
        text.lines().filter(is_write).map(calls).collect()
    }

    async fn versions(&self) -> Vec<Option<String>> {
        let list = ListParams::default();
        let groups = self.namespace.api::<EventConsumerGroup>().list(&list).await.unwrap();
        let deployments = self.namespace.api::<Deployment>().list(&list).await.unwrap();
        let events = self.namespace.api::<Event>().list(&list).await.unwrap();
        let groups = groups.items.iter().map(ResourceExt::resource_version);
        let deployments = deployments.items.iter().map(ResourceExt::resource_version);
        groups
            .chain(deployments)
            .chain(events.items.iter().map(ResourceExt::resource_version))
            .collect()
    }

    /// The number of sweeps, as Redis counts them.
    async fn snapshots(&mut self) -> u64 {
        let mut info = redis::cmd("INFO");
        info.arg("commandstats");
        let text: String = info.query_async(&mut self.conn).await.unwrap();
        let line = text.lines().find(|line| line.starts_with("cmdstat_evalsha_ro:"));
        let calls = line.and_then(|line| line.split("calls=").nth(1)?.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }
}

#[expect(clippy::disallowed_methods, reason = "these tests measure")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn at_rest_nothing_is_written_neither_to_kubernetes_nor_to_redis() {
    let mut fixture = Fixture::at_rest().await;
    for number in 0..10 {
        fixture.namespace.apply(&format!("n{number}"), json!({"suspend": true})).await;
    }
    for number in 0..10 {
        fixture.namespace.until_state(&format!("n{number}"), "Suspended").await;
    }
    let last = |s: &EventConsumerGroupStatus| s.lag == Some(0);
    fixture.namespace.until("orders", "the lag is known", SOON, last).await;
    let (versions, commands) = (fixture.versions().await, fixture.writing_commands().await);
    let snapshots = fixture.snapshots().await;
    wait::until("Redis was looked at some times more", SOON, async || {
        (fixture.snapshots().await >= snapshots + 5).then_some(())
    })
    .await;
    // And a reconcile of each kind: another operator finds all as it should be.
    let Fixture { namespace, redis, conn, operator } = fixture;
    operator.end().await;
    let operator = RunningOperator::start(&namespace, &redis).await;
    let mut fixture = Fixture { namespace, redis, conn, operator };
    wait::until("the second operator reconciled", SOON, async || {
        let (_, text) = fixture.operator.get("/metrics").await;
        let reconciled = text.contains("eventbus_reconcile_total{result=\"ok\"}");
        (reconciled && text.contains("eventbus_group_lag{")).then_some(())
    })
    .await;
    let snapshots = fixture.snapshots().await;
    wait::until("it looked at Redis some times", SOON, async || {
        (fixture.snapshots().await >= snapshots + 3).then_some(())
    })
    .await;
    assert_eq!(fixture.versions().await, versions);
    assert_eq!(fixture.writing_commands().await, commands);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn the_first_change_after_quiet_stands_soon() {
    let mut fixture = Fixture::at_rest().await;
    // Quiet is longer than the interval between two writes.
    let snapshots = fixture.snapshots().await;
    wait::until("five seconds of quiet passed", SOON, async || {
        (fixture.snapshots().await >= snapshots + 4).then_some(())
    })
    .await;
    fixture.publish().await;
    fixture.namespace.until("orders", "the lag is 1", 5 * REPORT_LIMIT, |s| s.lag == Some(1)).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn while_numbers_move_a_status_is_written_every_five_seconds_and_their_rest_afterwards() {
    let mut fixture = Fixture::at_rest().await;
    let api: Api<EventConsumerGroup> = fixture.namespace.api();
    let start = api.get("orders").await.unwrap().resource_version().unwrap();
    let mut watch = api.watch(&WatchParams::default(), &start).await.unwrap().boxed();
    let writes = tokio::spawn(async move {
        let mut writes = Vec::new();
        while let Ok(Some(event)) = watch.try_next().await {
            if let WatchEvent::Modified(resource) = event {
                let lag = resource.status.and_then(|status| status.lag);
                writes.push((now(), lag));
                if lag == Some(60) {
                    return writes;
                }
            }
        }
        panic!("the watch ended: {writes:?}");
    });
    let (began, mut every) = (now(), tokio::time::interval(Duration::from_millis(250)));
    for _ in 0..60 {
        every.tick().await;
        fixture.publish().await;
    }
    let writes = wait::within("their rest is written", 5 * RECOVERED, writes).await.unwrap();
    for pair in writes[..writes.len() - 1].windows(2) {
        let between = pair[1].0 - pair[0].0;
        // 5 s, if a busy machine brings both as late.
        assert!(between > Duration::from_secs(4), "{between:?}: {writes:?}");
    }
    // 15 s of movement, or more: the first change, one write every 5 s, and the rest.
    let max = usize::try_from((now() - began).as_secs() / 5).unwrap() + 2;
    assert!((3..=max).contains(&writes.len()), "{writes:?}");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn one_sweep_serves_all_resources_of_a_stream() {
    let mut fixture = Fixture::at_rest().await;
    for number in 0..20 {
        fixture.namespace.apply(&format!("n{number}"), json!({"suspend": true})).await;
    }
    for number in 0..20 {
        fixture.namespace.until_state(&format!("n{number}"), "Suspended").await;
    }
    let (before, began) = (fixture.snapshots().await, now());
    let (snapshots, took) = wait::until("some sweeps were made", SOON, async || {
        let snapshots = fixture.snapshots().await - before;
        (snapshots >= 6).then(|| (snapshots, now() - began))
    })
    .await;
    // One a second at most, not one for each of 21 groups.
    let max = took.as_secs_f64() + 2.0;
    assert!((snapshots as f64) <= max, "{snapshots} in {took:?}");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_redis_that_goes_is_told_and_costs_no_pod_and_its_return_is_told_too() {
    let mut fixture = Fixture::at_rest().await;
    fixture.publish().await;
    fixture.namespace.until("orders", "the lag is 1", SOON, |s| s.lag == Some(1)).await;
    let deployments = fixture.namespace.api::<Deployment>();
    let before = deployments.get("ecg-orders").await.unwrap();
    fixture.redis.stop();
    let resource = fixture.namespace.until_state("orders", "RedisUnreachable").await;
    let status = resource.status.unwrap();
    assert_eq!(condition(&status, "Ready").unwrap().status, "False");
    assert_eq!(condition(&status, "GroupReady").unwrap().status, "Unknown");
    assert_eq!((status.lag, status.pending, status.oldest_unprocessed_time), (None, None, None));
    assert_eq!(status.display.unwrap().lag.as_deref(), Some("?"));
    let (_, metrics) = fixture.operator.get("/metrics").await;
    assert!(!metrics.contains("eventbus_group_lag{"), "{metrics}");
    assert_eq!(
        deployments.get("ecg-orders").await.unwrap().resource_version(),
        before.resource_version()
    );
    fixture.redis.restart();
    let recovered = |s: &EventConsumerGroupStatus| state_of(s) == "Idle" && s.lag == Some(0);
    // A server that lost its data: the group is made again, and the stream is empty.
    fixture.namespace.until("orders", "it recovers", 5 * RECOVERED, recovered).await;
    let mut conn = fixture.redis.connection().await;
    let groups: redis::streams::StreamInfoGroupsReply =
        redis::cmd("XINFO").arg(&["GROUPS", "s"]).query_async(&mut conn).await.unwrap();
    assert_eq!(groups.groups.len(), 1);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_redis_that_hangs_is_told_and_its_return_too() {
    let fixture = Fixture::at_rest().await;
    fixture.redis.pause();
    fixture.namespace.until_state("orders", "RedisUnreachable").await;
    fixture.redis.resume();
    let recovered = |s: &EventConsumerGroupStatus| state_of(s) == "Idle";
    fixture.namespace.until("orders", "it recovers", 5 * RECOVERED, recovered).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_redis_that_hangs_costs_the_resources_of_another_nothing() {
    let (namespace, well, ill) =
        (Namespace::create().await, RedisServer::start(), RedisServer::start());
    ill.pause();
    let endpoints = json!({"endpoints": [
        {"name": "default", "url": well.url()}, {"name": "ill", "url": ill.url()},
    ]});
    let _operator =
        RunningOperator::start_as(Setup { endpoints, ..Setup::new(&namespace, &well) }).await;
    for number in 0..20 {
        let fields = json!({"redis": {"name": "ill"}, "stream": format!("s{number}")});
        namespace.apply(&format!("ill{number}"), fields).await;
    }
    let applied = now();
    namespace.apply("well", json!({})).await;
    namespace.until_deployment("well", "there is a Deployment", |_| true).await;
    // One after the other, the looks at the ill ones would take 40 s.
    let took = now() - applied;
    assert!(took < Duration::from_secs(20), "{took:?}");
    for number in 0..20 {
        namespace.until_state(&format!("ill{number}"), "RedisUnreachable").await;
    }
    ill.resume();
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_redis_that_is_not_there_at_first_is_waited_for_and_nothing_is_started_before() {
    let (namespace, mut redis) = (Namespace::create().await, RedisServer::start());
    redis.stop();
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.apply("orders", json!({})).await;
    namespace.until_state("orders", "RedisUnreachable").await;
    let deployments = namespace.api::<Deployment>();
    assert!(deployments.get_opt("ecg-orders").await.unwrap().is_none());
    redis.restart();
    namespace.until_deployment("orders", "it starts", |_| true).await;
}
