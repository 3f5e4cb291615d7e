//! What the operator does not do: for whom, and how it says so.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tests::api::{Namespace, RunningOperator, SOON, Setup, condition};
use tests::redis::RedisServer;
use tests::wait;

async fn key_exists(redis: &RedisServer, key: &str) -> bool {
    let mut conn = redis.connection().await;
    redis::cmd("EXISTS").arg(key).query_async(&mut conn).await.unwrap()
}

async fn deployment(namespace: &Namespace, name: &str) -> Option<Deployment> {
    namespace.api::<Deployment>().get_opt(&format!("ecg-{name}")).await.unwrap()
}

/// A handler that the schema accepts and the operator refuses: its URL has a password.
fn invalid_handler() -> Value {
    json!({"http": {"url": "http://u:p@h/"}})
}

/// STATE and message of a new resource for which nothing is created.
async fn refused(fields: Value) -> (String, String) {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.apply("orders", fields).await;
    let has_state = |s: &EventConsumerGroupStatus| condition(s, "Ready").is_some();
    let resource = namespace.until("orders", "there is a state", SOON, has_state).await;
    // A second resource that is fine shows that the operator had its chance with the first one.
    namespace.apply("fine", json!({"stream": "fine"})).await;
    namespace.until_deployment("fine", "there is a Deployment", |_| true).await;
    assert!(!key_exists(&redis, "s").await);
    assert!(deployment(&namespace, "orders").await.is_none());
    let ready = condition(resource.status.as_ref().unwrap(), "Ready").unwrap().clone();
    assert_eq!(ready.status, "False");
    (ready.reason, ready.message)
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn an_endpoint_that_nobody_defined_is_not_allowed() {
    let (reason, message) = refused(json!({"redis": {"name": "elsewhere"}})).await;
    assert_eq!(reason, "EndpointNotAllowed");
    assert!(message.contains("\"elsewhere\"") && message.contains("default"), "{message}");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn an_endpoint_of_other_namespaces_and_streams_is_not_allowed() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let endpoints = json!({"endpoints": [
        {"name": "default", "url": redis.url(), "namespaces": ["another"]},
        {"name": "streams", "url": redis.url(), "streams": ["orders:*"]},
    ]});
    let _operator =
        RunningOperator::start_as(Setup { endpoints, ..Setup::new(&namespace, &redis) }).await;
    namespace.apply("namespace", json!({})).await;
    namespace.apply("stream", json!({"redis": {"name": "streams"}})).await;
    namespace.apply("fine", json!({"redis": {"name": "streams"}, "stream": "orders:new"})).await;
    namespace.until_state("namespace", "EndpointNotAllowed").await;
    namespace.until_state("stream", "EndpointNotAllowed").await;
    namespace.until_deployment("fine", "there is a Deployment", |_| true).await;
    assert!(!key_exists(&redis, "s").await);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_refused_change_leaves_what_runs_as_it_is() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.apply("orders", json!({"replicas": 1})).await;
    namespace.run_pods("orders", 1).await;
    namespace.until_state("orders", "Idle").await;
    let before = deployment(&namespace, "orders").await.unwrap();
    namespace.apply("orders", json!({"replicas": 5, "handler": invalid_handler()})).await;
    let resource = namespace.until_state("orders", "InvalidTemplate").await;
    assert_eq!(resource.status.unwrap().ready_replicas, Some(1));
    let after = deployment(&namespace, "orders").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_deployment_of_somebody_else_is_not_touched() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let foreign = json!({
        "metadata": {"name": "ecg-orders", "labels": {"app.kubernetes.io/managed-by": "eventbus-operator"}},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "theirs"}]}}},
    });
    let foreign: Deployment = serde_json::from_value(foreign).unwrap();
    let api = namespace.api::<Deployment>();
    let before = api.create(&PostParams::default(), &foreign).await.unwrap();
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.apply("orders", json!({})).await;
    let resource = namespace.until_state("orders", "NameTaken").await;
    let status = resource.status.unwrap();
    let message = &condition(&status, "Ready").unwrap().message;
    assert!(message.contains("ecg-orders"), "{message}");
    assert!(!key_exists(&redis, "s").await);
    let after = deployment(&namespace, "orders").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    api.delete("ecg-orders", &DeleteParams::background()).await.unwrap();
    let ours = |deployment: &Deployment| !deployment.owner_references().is_empty();
    namespace.until_deployment("orders", "the name is free, and ours", ours).await;
}

/// A resource that is younger than `older` by the API server's clock, which keeps whole seconds.
async fn younger_than(
    older: &EventConsumerGroup,
    namespace: &Namespace,
    name: &str,
    fields: Value,
) -> EventConsumerGroup {
    let created = |resource: &EventConsumerGroup| resource.creation_timestamp().unwrap().0;
    let resources = namespace.api::<EventConsumerGroup>();
    wait::until("a second resource is younger", SOON, async || {
        let resource = namespace.apply(name, fields.clone()).await;
        if created(&resource) > created(older) {
            return Some(resource);
        }
        resources.delete(name, &DeleteParams::background()).await.unwrap();
        None
    })
    .await
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn of_two_resources_for_one_group_the_older_runs_and_the_other_takes_over_when_it_goes() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let older = namespace.apply("older", json!({"group": "g"})).await;
    let younger = younger_than(&older, &namespace, "younger", json!({"group": "g"})).await;
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.until_deployment("older", "the older one runs", |_| true).await;
    let resource = namespace.until_state("younger", "Conflict").await;
    let status = resource.status.unwrap();
    assert_eq!(status.conflicts_with.as_deref(), Some("older"));
    assert_eq!(condition(&status, "Conflict").unwrap().status, "True");
    assert_eq!(status.display.unwrap().replicas.as_deref(), Some("0/0"));
    assert!(deployment(&namespace, "younger").await.is_none());
    let resources = namespace.api::<EventConsumerGroup>();
    resources.delete("older", &DeleteParams::background()).await.unwrap();
    let deployment = namespace.until_deployment("younger", "the younger one runs", |_| true).await;
    assert_eq!(Some(&deployment.owner_references()[0].uid), younger.uid().as_ref());
    let ours = |s: &eventbus_api::EventConsumerGroupStatus| {
        s.conflicts_with.is_none() && condition(s, "Conflict").is_none() && s.lag == Some(0)
    };
    namespace.until("younger", "the conflict is over", SOON, ours).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn an_owner_in_another_namespace_is_not_named() {
    let (first, second) = (Namespace::create().await, Namespace::create().await);
    let redis = RedisServer::start();
    let namespaces = vec![first.name.clone(), second.name.clone()];
    let older = first.apply("older", json!({"group": "g"})).await;
    younger_than(&older, &second, "younger", json!({"group": "g"})).await;
    let setup = Setup { namespaces, ..Setup::new(&first, &redis) };
    let _operator = RunningOperator::start_as(setup).await;
    let resource = second.until_state("younger", "Conflict").await;
    let status = resource.status.unwrap();
    assert_eq!(status.conflicts_with, None);
    let message = &condition(&status, "Ready").unwrap().message;
    assert!(!message.contains("older\"") && !message.contains(&first.name), "{message}");
    let resources = first.api::<EventConsumerGroup>();
    resources.delete("older", &DeleteParams::background()).await.unwrap();
    second.until_deployment("younger", "it takes over", |_| true).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_refused_resource_whose_pods_run_keeps_its_group_from_a_younger_one() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let older = namespace.apply("older", json!({"group": "g"})).await;
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.run_pods("older", 1).await;
    namespace.until_state("older", "Idle").await;
    younger_than(&older, &namespace, "younger", json!({"group": "g"})).await;
    namespace.until_state("younger", "Conflict").await;
    namespace.apply("older", json!({"group": "g", "handler": invalid_handler()})).await;
    namespace.until_state("older", "InvalidTemplate").await;
    // A change of its own makes the operator decide about the younger one again.
    namespace.apply("younger", json!({"group": "g", "eventTypes": ["a"]})).await;
    let seen = |status: &EventConsumerGroupStatus| status.observed_generation == Some(2);
    namespace.until("younger", "its change was seen", SOON, seen).await;
    namespace.until_state("younger", "Conflict").await;
    assert!(deployment(&namespace, "younger").await.is_none());
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_resource_that_cannot_be_read_does_not_stop_the_others() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    namespace.apply("odd", json!({"stream": "odd"})).await;
    // A time that the API server takes and that is beyond what our clock can tell.
    let status = json!({"status": {"lastCheck": "9999-12-31T23:59:59Z"}});
    let raw = ApiResource::erase::<EventConsumerGroup>(&());
    let raw = Api::<DynamicObject>::namespaced_with(namespace.client(), &namespace.name, &raw);
    raw.patch_status("odd", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    assert!(namespace.api::<EventConsumerGroup>().get("odd").await.is_err());
    let operator = RunningOperator::start(&namespace, &redis).await;
    namespace.apply("orders", json!({})).await;
    namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    operator.end().await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn what_keeps_the_pods_from_starting_is_told() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let _operator = RunningOperator::start(&namespace, &redis).await;
    let pod = json!({
        "metadata": {"name": "ecg-orders-1", "labels": {
            "app.kubernetes.io/name": "eventbus-consumer", "app.kubernetes.io/instance": "orders"}},
        "spec": {"containers": [{"name": "consumer", "image": "consumer:test"}],
            "serviceAccountName": "default"},
    });
    let pods = namespace.api::<Pod>();
    let account = json!({"metadata": {"name": "default"}});
    let accounts = namespace.api::<ServiceAccount>();
    let params = PostParams::default();
    accounts.create(&params, &serde_json::from_value(account).unwrap()).await.unwrap();
    pods.create(&params, &serde_json::from_value(pod).unwrap()).await.unwrap();
    let status = json!({"status": {"containerStatuses": [{
        "name": "consumer", "image": "consumer:test", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}});
    pods.patch_status("ecg-orders-1", &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
    namespace.apply("orders", json!({})).await;
    let reported = |s: &eventbus_api::EventConsumerGroupStatus| {
        let consumers = condition(s, "ConsumersAvailable");
        consumers.is_some_and(|c| c.message.contains("ErrImagePull: no such image"))
    };
    namespace.until("orders", "the reason is told", SOON, reported).await;
}
