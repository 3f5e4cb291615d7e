//! What the operator does not do: for whom, and how it says so.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams};
use operator::crd::EventConsumerGroup;
use serde_json::{Value, json};
use tests::api::{Namespace, RunningOperator, SOON, condition};
use tests::redis::RedisServer;
use tests::wait;

async fn key_exists(redis: &RedisServer, key: &str) -> bool {
    let mut conn = redis.connection().await;
    redis::cmd("EXISTS").arg(key).query_async(&mut conn).await.unwrap()
}

async fn deployment(namespace: &Namespace, name: &str) -> Option<Deployment> {
    namespace.api::<Deployment>().get_opt(&format!("ecg-{name}")).await.unwrap()
}

/// STATE and message of a new resource for which nothing is created.
async fn refused(fields: Value) -> (String, String) {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.apply("orders", fields).await;
    let has_state = |s: &operator::crd::EventConsumerGroupStatus| condition(s, "Ready").is_some();
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
async fn fields_that_are_not_supported_yet_are_all_named_and_nothing_is_created() {
    let (reason, message) = refused(json!({
        "scaling": {"maxReplicas": 3}, "delivery": {"maxAttempts": 9},
        "handler": {"sidecar": {"image": "i", "port": 8080}},
    }))
    .await;
    assert_eq!(reason, "NotYetSupported");
    for field in ["scaling", "delivery.maxAttempts", "handler.sidecar"] {
        assert!(message.contains(field), "{field}: {message}");
    }
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
    let _operator = RunningOperator::start_with(&namespace, &endpoints).await;
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
async fn a_field_that_is_not_supported_leaves_what_runs_as_it_is() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.apply("orders", json!({"replicas": 1})).await;
    namespace.run_pods("orders", 1).await;
    namespace.until_state("orders", "Idle").await;
    let before = deployment(&namespace, "orders").await.unwrap();
    namespace.apply("orders", json!({"replicas": 5, "objectives": {"maxLag": 3}})).await;
    let resource = namespace.until_state("orders", "NotYetSupported").await;
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

#[tokio::test]
#[ignore = "needs an API server"]
async fn of_two_resources_for_one_group_the_older_runs_and_the_other_takes_over_when_it_goes() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let older = namespace.apply("older", json!({"group": "g"})).await;
    // The age of resources is kept in whole seconds.
    let created = |resource: &EventConsumerGroup| resource.creation_timestamp().unwrap().0;
    let resources = namespace.api::<EventConsumerGroup>();
    let younger = wait::until("a second resource is younger", SOON, async || {
        let resource = namespace.apply("younger", json!({"group": "g"})).await;
        if created(&resource) > created(&older) {
            return Some(resource);
        }
        resources.delete("younger", &DeleteParams::background()).await.unwrap();
        None
    })
    .await;
    let _operator = RunningOperator::start(&namespace, &redis).await;
    namespace.until_deployment("older", "the older one runs", |_| true).await;
    let resource = namespace.until_state("younger", "Conflict").await;
    let status = resource.status.unwrap();
    assert_eq!(status.conflicts_with.as_deref(), Some("older"));
    assert_eq!(condition(&status, "Conflict").unwrap().status, "True");
    assert_eq!(status.display.unwrap().replicas.as_deref(), Some("0/0"));
    assert!(deployment(&namespace, "younger").await.is_none());
    resources.delete("older", &DeleteParams::background()).await.unwrap();
    let deployment = namespace.until_deployment("younger", "the younger one runs", |_| true).await;
    assert_eq!(Some(&deployment.owner_references()[0].uid), younger.uid().as_ref());
    let ours = |s: &operator::crd::EventConsumerGroupStatus| {
        s.conflicts_with.is_none() && condition(s, "Conflict").is_none() && s.lag == Some(0)
    };
    namespace.until("younger", "the conflict is over", SOON, ours).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_running_resource_stops_for_an_older_one_that_becomes_valid() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let _operator = RunningOperator::start(&namespace, &redis).await;
    let older = json!({"group": "g", "objectives": {"maxLag": 1}});
    namespace.apply("a-older", older).await;
    namespace.until_state("a-older", "NotYetSupported").await;
    namespace.apply("b-younger", json!({"group": "g"})).await;
    namespace.run_pods("b-younger", 1).await;
    let first = namespace.until_state("b-younger", "Idle").await;
    let younger_is_first = {
        let older = namespace.api::<EventConsumerGroup>().get("a-older").await.unwrap();
        let key = |r: &EventConsumerGroup| (r.creation_timestamp().unwrap().0, r.uid());
        key(&first) < key(&older)
    };
    let (loser, winner) =
        if younger_is_first { ("a-older", "b-younger") } else { ("b-younger", "a-older") };
    namespace.apply("a-older", json!({"group": "g"})).await;
    namespace.until_state(loser, "Conflict").await;
    namespace.until_deployment(winner, "the owner runs", |_| true).await;
    if loser == "b-younger" {
        let stopped = |d: &Deployment| d.spec.as_ref().unwrap().replicas == Some(0);
        namespace.until_deployment(loser, "the other one stops", stopped).await;
    }
}
