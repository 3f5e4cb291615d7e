//! From a resource to its group, its Deployment and its status, on a real API server and a real Redis.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::Duration;

use eventbus::admin::Connection;
use eventbus_api::{EventConsumerGroup, GroupOrigin, LagSource};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use tests::api::{IMAGE, Namespace, RunningOperator, SOON, Setup, condition, state_of};
use tests::redis::RedisServer;
use tests::wait;

struct Fixture {
    namespace: Namespace,
    redis: RedisServer,
    conn: Connection,
    operator: RunningOperator,
}

impl Fixture {
    async fn start() -> Self {
        let (namespace, redis) = (Namespace::create().await, RedisServer::start());
        let conn = redis.connection().await;
        let operator = RunningOperator::start(&namespace, &redis).await;
        Self { namespace, redis, conn, operator }
    }

    async fn run<T: redis::FromRedisValue>(&mut self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).query_async(&mut self.conn).await.unwrap()
    }

    async fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.run::<String>("XADD s * type t payload {} source test").await;
        }
    }

    async fn groups(&mut self) -> Vec<redis::streams::StreamInfoGroup> {
        let reply: redis::streams::StreamInfoGroupsReply = self.run("XINFO GROUPS s").await;
        reply.groups
    }
}

fn container(deployment: &Deployment) -> &k8s_openapi::api::core::v1::Container {
    &deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0]
}

fn replicas(deployment: &Deployment) -> Option<i32> {
    deployment.spec.as_ref().unwrap().replicas
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_resource_becomes_a_group_and_a_deployment_that_it_owns() {
    let mut fixture = Fixture::start().await;
    let resource = fixture.namespace.apply("orders", json!({"group": "g", "replicas": 2})).await;
    let deployment =
        fixture.namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    // The group stands before the first pod could read it.
    let groups = fixture.groups().await;
    assert_eq!((&*groups[0].name, groups[0].entries_read), ("g", Some(0)));
    let owner = &deployment.owner_references()[0];
    assert_eq!((Some(&owner.uid), owner.controller), (resource.uid().as_ref(), Some(true)));
    assert_eq!(replicas(&deployment), Some(2));
    let container = container(&deployment);
    assert_eq!(container.image.as_deref(), Some(IMAGE));
    let env = |name: &str| {
        let variable = container.env.iter().flatten().find(|variable| variable.name == name);
        variable.and_then(|variable| variable.value.clone())
    };
    assert_eq!(env("EVENT_GROUP").as_deref(), Some("g"));
    assert_eq!(env("REDIS_URL"), Some(fixture.redis.url()));
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn the_status_tells_lag_pending_and_dead_letters_as_events_come_and_go() {
    let mut fixture = Fixture::start().await;
    fixture.publish(3).await;
    fixture.namespace.apply("orders", json!({})).await;
    let lag = |lag| move |status: &eventbus_api::EventConsumerGroupStatus| status.lag == Some(lag);
    let resource = fixture.namespace.until("orders", "lag is 3", SOON, lag(3)).await;
    let status = resource.status.unwrap();
    assert_eq!((status.lag_source, status.pending), (Some(LagSource::Exact), Some(0)));
    assert_eq!((status.backlog, status.stream_length), (Some(3), Some(3)));
    assert_eq!(status.display.unwrap().lag.as_deref(), Some("3"));
    assert!(status.oldest_unprocessed_time.is_some());
    fixture.run::<redis::Value>("XREADGROUP GROUP orders c COUNT 2 STREAMS s >").await;
    fixture.run::<String>("XADD {s}:dlq:orders * type t").await;
    let moved = |status: &eventbus_api::EventConsumerGroupStatus| {
        let letters = status.dead_letter.as_ref().and_then(|letters| letters.length);
        (status.lag, status.pending, letters) == (Some(1), Some(2), Some(1))
    };
    let resource = fixture.namespace.until("orders", "two are pending", SOON, moved).await;
    let status = resource.status.unwrap();
    let consumers = status.consumers.unwrap();
    assert_eq!((consumers.total, consumers.live), (1, 1), "all consumers are of other libraries");
    let last = status.position.unwrap();
    assert_ne!(last.last_delivered_id, last.last_generated_id);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn kubectl_get_shows_the_columns() {
    let mut fixture = Fixture::start().await;
    fixture.publish(2).await;
    fixture.namespace.apply("orders", json!({"replicas": 1})).await;
    fixture.namespace.run_pods("orders", 1).await;
    fixture.namespace.until_state("orders", "Consuming").await;
    let output = fixture.namespace.kubectl(&["get", "ecg"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines[0],
        [
            "NAME", "STREAM", "GROUP", "READY", "STATE", "LAG", "PENDING", "OLDEST", "DLQ",
            "REPLICAS", "AGE"
        ]
    );
    assert_eq!(lines[1][..7], ["orders", "s", "orders", "True", "Consuming", "2", "0"]);
    assert_eq!(lines[1][8..10], ["0", "1/1"]);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn ready_follows_the_pods() {
    let fixture = Fixture::start().await;
    fixture.namespace.apply("orders", json!({"replicas": 2})).await;
    fixture.namespace.until_state("orders", "ConsumersUnavailable").await;
    fixture.namespace.run_pods("orders", 1).await;
    fixture.namespace.until_state("orders", "Scaling").await;
    fixture.namespace.run_pods("orders", 2).await;
    let resource = fixture.namespace.until_state("orders", "Idle").await;
    let status = resource.status.unwrap();
    let ready = condition(&status, "Ready").unwrap();
    assert_eq!((&*ready.status, ready.observed_generation), ("True", Some(1)));
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(2)));
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn kubectl_scale_changes_the_pods() {
    let fixture = Fixture::start().await;
    fixture.namespace.apply("orders", json!({"replicas": 1})).await;
    fixture.namespace.run_pods("orders", 1).await;
    fixture.namespace.until_state("orders", "Idle").await;
    let output = fixture.namespace.kubectl(&["scale", "ecg/orders", "--replicas=3"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let scaled = |deployment: &Deployment| replicas(deployment) == Some(3);
    fixture.namespace.until_deployment("orders", "three replicas are wanted", scaled).await;
    let selector =
        fixture.namespace.until("orders", "status", SOON, |s| s.selector.is_some()).await;
    assert_eq!(
        selector.status.unwrap().selector.as_deref(),
        Some("app.kubernetes.io/instance=orders,app.kubernetes.io/name=eventbus-consumer")
    );
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn suspend_takes_the_pods_away_and_keeps_telling_the_lag() {
    let mut fixture = Fixture::start().await;
    fixture.namespace.apply("orders", json!({"replicas": 2})).await;
    fixture.namespace.run_pods("orders", 2).await;
    fixture.namespace.until_state("orders", "Idle").await;
    fixture.namespace.apply("orders", json!({"replicas": 2, "suspend": true})).await;
    let stopped = |deployment: &Deployment| replicas(deployment) == Some(0);
    fixture.namespace.until_deployment("orders", "no replica is wanted", stopped).await;
    fixture.namespace.run_pods("orders", 0).await;
    fixture.namespace.until_state("orders", "Suspended").await;
    fixture.publish(4).await;
    fixture.namespace.until("orders", "the lag is 4", SOON, |s| s.lag == Some(4)).await;
    fixture.namespace.apply("orders", json!({"replicas": 2, "suspend": false})).await;
    let back = |deployment: &Deployment| replicas(deployment) == Some(2);
    fixture.namespace.until_deployment("orders", "two replicas are wanted again", back).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_group_that_exists_keeps_its_position_and_an_event_names_both() {
    let mut fixture = Fixture::start().await;
    for id in 1..=5 {
        fixture.run::<String>(&format!("XADD s {id}-0 type t payload {{}}")).await;
    }
    fixture.run::<()>("XGROUP CREATE s orders 3-0").await;
    fixture.namespace.apply("orders", json!({"start": {"id": "1-0"}})).await;
    let known = |s: &eventbus_api::EventConsumerGroupStatus| s.group_origin.is_some();
    let resource = fixture.namespace.until("orders", "the origin is known", SOON, known).await;
    let status = resource.status.unwrap();
    assert_eq!((status.group_origin, status.lag), (Some(GroupOrigin::Adopted), Some(2)));
    let note = until_event(&fixture.namespace, "GroupAdopted").await;
    assert!(note.1.contains("3-0") && note.1.contains("1-0"), "{}", note.1);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_start_at_the_end_is_warned_about_with_its_id() {
    let mut fixture = Fixture::start().await;
    fixture.run::<String>("XADD s 7-0 type t payload {}").await;
    fixture.namespace.apply("orders", json!({"start": {"id": "$"}})).await;
    let (kind, note) = until_event(&fixture.namespace, "GroupCreated").await;
    assert_eq!(kind, "Warning");
    assert!(note.contains("7-0"), "{note}");
    let known = |s: &eventbus_api::EventConsumerGroupStatus| s.lag == Some(0);
    let resource = fixture.namespace.until("orders", "the lag is 0", SOON, known).await;
    assert_eq!(resource.status.unwrap().group_origin, Some(GroupOrigin::Created));
}

/// The type and note of the event about `orders` with this reason.
async fn until_event(namespace: &Namespace, reason: &str) -> (String, String) {
    wait::until("there is an event", SOON, async || {
        let events = namespace.events("orders").await;
        events.into_iter().find(|event| event.1 == reason).map(|(kind, _, note)| (kind, note))
    })
    .await
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_group_that_vanishes_is_created_again_where_it_was() {
    let mut fixture = Fixture::start().await;
    fixture.namespace.apply("orders", json!({})).await;
    fixture.namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    for id in 1..=5 {
        fixture.run::<String>(&format!("XADD s {id}-0 type t payload {{}}")).await;
    }
    fixture.run::<redis::Value>("XREADGROUP GROUP orders c COUNT 3 STREAMS s >").await;
    fixture.run::<i64>("XACK s orders 1-0").await;
    let reported = |s: &eventbus_api::EventConsumerGroupStatus| s.pending == Some(2);
    fixture.namespace.until("orders", "two are pending", SOON, reported).await;
    fixture.run::<i64>("XGROUP DESTROY s orders").await;
    let again = |s: &eventbus_api::EventConsumerGroupStatus| {
        s.group_origin == Some(GroupOrigin::Recreated) && s.lag.is_some()
    };
    let resource = fixture.namespace.until("orders", "the group is back", SOON, again).await;
    // 1-0 was done, 2-0 was not: everything after 1-0 is delivered again.
    assert_eq!(resource.status.unwrap().lag, Some(4));
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn what_somebody_changed_in_the_deployment_is_put_back() {
    let fixture = Fixture::start().await;
    fixture.namespace.apply("orders", json!({"replicas": 1})).await;
    fixture.namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    let api = fixture.namespace.api::<Deployment>();
    let evil = json!({"spec": {"replicas": 7, "template": {"spec": {"containers": [
        {"name": "consumer", "image": "evil"}]}}}});
    let patch = Patch::Strategic(evil);
    api.patch("ecg-orders", &PatchParams::default(), &patch).await.unwrap();
    let back =
        |d: &Deployment| replicas(d) == Some(1) && container(d).image.as_deref() == Some(IMAGE);
    fixture.namespace.until_deployment("orders", "it is as it was", back).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_deleted_deployment_is_made_again() {
    let fixture = Fixture::start().await;
    fixture.namespace.apply("orders", json!({})).await;
    let first =
        fixture.namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    let api = fixture.namespace.api::<Deployment>();
    api.delete("ecg-orders", &DeleteParams::background()).await.unwrap();
    let other = move |deployment: &Deployment| deployment.uid() != first.uid();
    fixture.namespace.until_deployment("orders", "there is another one", other).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn deleting_the_resource_keeps_group_and_events_and_makes_nothing_new() {
    let mut fixture = Fixture::start().await;
    fixture.publish(3).await;
    fixture.namespace.apply("orders", json!({})).await;
    fixture.namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    let resources = fixture.namespace.api::<EventConsumerGroup>();
    resources.delete("orders", &DeleteParams::background()).await.unwrap();
    // What the garbage collector would do.
    let api = fixture.namespace.api::<Deployment>();
    api.delete("ecg-orders", &DeleteParams::background()).await.unwrap();
    // The metrics go when the operator has seen the end of the resource.
    wait::until("the operator forgot it", SOON, async || {
        let (_, text) = fixture.operator.get("/metrics").await;
        (!text.contains(r#"eventbus_group_lag{"#)).then_some(())
    })
    .await;
    assert_eq!(fixture.groups().await.len(), 1);
    assert_eq!(fixture.run::<i64>("XLEN s").await, 3);
    assert!(api.get_opt("ecg-orders").await.unwrap().is_none());
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn credentials_reach_the_pods_as_files_of_a_secret_and_nowhere_else() {
    let namespace = Namespace::create().await;
    let redis = RedisServer::start();
    let mut conn = redis.connection().await;
    let set = redis::cmd("CONFIG").arg(&["SET", "requirepass", "hunter2"]).to_owned();
    set.exec_async(&mut conn).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("password"), "hunter2\n").unwrap();
    let endpoints = json!({"endpoints": [{
        "name": "default", "url": redis.url(), "secretName": "redis-credentials",
        "credentialsDir": directory.path(),
    }]});
    let _operator =
        RunningOperator::start_as(Setup { endpoints, ..Setup::new(&namespace, &redis) }).await;
    namespace.apply("orders", json!({})).await;
    let deployment = namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    let env = container(&deployment).env.clone().unwrap();
    let file = env.iter().find(|variable| variable.name == "REDIS_PASSWORD_FILE").unwrap();
    assert_eq!(file.value.as_deref(), Some("/etc/eventbus/redis/password"));
    let resource = namespace.until("orders", "a status", SOON, |s| s.lag.is_some()).await;
    let everything = format!("{deployment:?}{resource:?}");
    assert!(!everything.contains("hunter2"), "{everything}");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_key_that_is_no_stream_is_told_and_left_alone() {
    let mut fixture = Fixture::start().await;
    fixture.run::<()>("SET s text").await;
    fixture.namespace.apply("orders", json!({})).await;
    let resource = fixture.namespace.until_state("orders", "WrongType").await;
    let status = resource.status.unwrap();
    assert_eq!(condition(&status, "RedisReachable").unwrap().status, "True");
    let api = fixture.namespace.api::<Deployment>();
    assert!(api.get_opt("ecg-orders").await.unwrap().is_none());
    fixture.run::<i64>("DEL s").await;
    let recovered = |s: &eventbus_api::EventConsumerGroupStatus| state_of(s) != "WrongType";
    fixture.namespace.until("orders", "it recovers", Duration::from_secs(5), recovered).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn groups_that_no_resource_declares_are_named() {
    let mut fixture = Fixture::start().await;
    fixture.run::<()>("XGROUP CREATE s legacy 0 MKSTREAM").await;
    fixture.namespace.apply("orders", json!({})).await;
    fixture.namespace.apply("more", json!({})).await;
    let named = |s: &eventbus_api::EventConsumerGroupStatus| s.unmanaged_groups == ["legacy"];
    fixture.namespace.until("orders", "the foreign group is named alone", SOON, named).await;
    fixture.namespace.until("more", "the foreign group is named alone", SOON, named).await;
}
