//! The groups that the operator declares in Redis, on a real API server and a real Redis.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::Duration;

use eventbus::admin::{self, Connection, Declaration, TrimHold};
use eventbus::{EntryId, Error, GroupName, StreamKey};
use eventbus_api::EventConsumerGroup;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::json;
use tests::api::{Namespace, RunningOperator, SOON};
use tests::event_bus::bus_on;
use tests::redis::RedisServer;
use tests::wait;

const KEY: &str = "{s}:eventbus:groups";

struct Fixture {
    namespace: Namespace,
    redis: RedisServer,
    conn: Connection,
}

impl Fixture {
    async fn new() -> Self {
        let (namespace, redis) = (Namespace::create().await, RedisServer::start());
        let conn = redis.connection().await;
        Self { namespace, redis, conn }
    }

    async fn run<T: redis::FromRedisValue>(&mut self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).query_async(&mut self.conn).await.unwrap()
    }

    /// The declaration of group `orders`, once it has these types.
    async fn until_declared(&mut self, types: &[&str]) -> Declaration {
        let conn = &self.conn;
        wait::until(&format!("declared with {types:?}"), SOON, async || {
            let mut conn = conn.clone();
            let field: Option<Vec<u8>> =
                redis::cmd("HGET").arg(&[KEY, "orders"]).query_async(&mut conn).await.unwrap();
            let declaration = Declaration::parse(&field?).unwrap();
            (declaration.types.patterns() == types).then_some(declaration)
        })
        .await
    }
}

fn group() -> GroupName {
    GroupName::new("orders").unwrap()
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn the_operator_declares_its_group_with_owner_and_types_and_keeps_it_up_to_date() {
    let mut fixture = Fixture::new().await;
    let _operator = RunningOperator::start(&fixture.namespace, &fixture.redis).await;
    let resource = fixture.namespace.apply("orders", json!({"eventTypes": ["a.*"]})).await;
    let owner = fixture.until_declared(&["a.*"]).await.owner.unwrap();
    assert_eq!(Some(owner.uid), resource.uid());
    assert_eq!((&*owner.namespace, &*owner.name), (&*fixture.namespace.name, "orders"));

    // The types decide which events the group is shown.
    for event_type in ["a.b", "other"] {
        let add = format!("XADD s * type {event_type} payload {{}} source test");
        fixture.run::<String>(&add).await;
    }
    let bus = bus_on(&fixture.redis).await;
    let page = bus.get_events_since(&group(), EntryId::ZERO).await.unwrap();
    let types: Vec<_> = page.events.iter().map(eventbus::StreamEvent::event_type).collect();
    assert_eq!(types, ["a.b"]);
    fixture.namespace.apply("orders", json!({"eventTypes": ["other"]})).await;
    fixture.until_declared(&["other"]).await;

    // A program cannot end the declaration of a resource.
    let error = bus.forget_consumer_group(&group()).await.unwrap_err();
    assert!(matches!(&error, Error::OwnedByResource { .. }), "{error}");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_resource_that_is_deleted_and_created_again_declares_its_group_anew() {
    let mut fixture = Fixture::new().await;
    let _operator = RunningOperator::start(&fixture.namespace, &fixture.redis).await;
    fixture.namespace.apply("orders", json!({"eventTypes": ["a"]})).await;
    fixture.until_declared(&["a"]).await;
    // It follows its group, and the next resource could not take its name.
    fixture.namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    let resources = fixture.namespace.api::<EventConsumerGroup>();
    resources.delete("orders", &DeleteParams::background()).await.unwrap();
    // There is no garbage collector beside the API server, which deletes what a deleted resource owns.
    let deployments = fixture.namespace.api::<Deployment>();
    deployments.delete("ecg-orders", &DeleteParams::background()).await.unwrap();
    let again = fixture.namespace.apply("orders", json!({"eventTypes": ["b"]})).await;
    let owner = fixture.until_declared(&["b"]).await.owner.unwrap();
    assert_eq!(Some(owner.uid), again.uid());
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn trimming_waits_for_a_group_of_the_operators_that_is_missing() {
    let mut fixture = Fixture::new().await;
    let operator = RunningOperator::start(&fixture.namespace, &fixture.redis).await;
    fixture.namespace.apply("orders", json!({})).await;
    fixture.until_declared(&[]).await;
    operator.end().await;
    fixture.run::<i64>("XGROUP DESTROY s orders").await;
    fixture.run::<String>("XGROUP CREATE s another $").await;
    for _ in 0..300 {
        fixture.run::<String>("XADD s * type t payload {} source test").await;
    }
    fixture.run::<String>("XGROUP SETID s another $").await;
    let stream = StreamKey::new("s").unwrap();
    let trimmed = admin::trim(&mut fixture.conn, &stream, 0, Duration::ZERO).await.unwrap();
    assert_eq!(
        (trimmed.removed, trimmed.hold),
        (0, Some(TrimHold::Missing { group: "orders".into() }))
    );
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn an_existing_group_is_declared_when_it_is_adopted() {
    let mut fixture = Fixture::new().await;
    fixture.run::<String>("XGROUP CREATE s orders 0 MKSTREAM").await;
    let _operator = RunningOperator::start(&fixture.namespace, &fixture.redis).await;
    let resource = fixture.namespace.apply("orders", json!({})).await;
    let owner = fixture.until_declared(&[]).await.owner.unwrap();
    assert_eq!(Some(owner.uid), resource.uid());
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_declaration_that_redis_refuses_stops_nothing() {
    let mut fixture = Fixture::new().await;
    // A key of another type there refuses every write, as missing permissions would.
    fixture.run::<String>(&format!("SET {KEY} text")).await;
    let _operator = RunningOperator::start(&fixture.namespace, &fixture.redis).await;
    fixture.namespace.apply("orders", json!({"replicas": 1})).await;
    fixture.namespace.run_pods("orders", 1).await;
    fixture.namespace.until_state("orders", "Idle").await;
    assert_eq!(fixture.run::<String>(&format!("GET {KEY}")).await, "text");
}
