//! Claims of groups: of resources that are edited, refused and allowed again, whoever runs a group keeps it.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use eventbus_api::{EventConsumerGroup, EventConsumerGroupStatus};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tests::api::{Namespace, RunningOperator, SOON, Setup, condition};
use tests::redis::RedisServer;

/// Namespaces `team` and `shop`, and two Redis servers: `default` is for both, `other` as told.
struct Platform {
    team: Namespace,
    shop: Namespace,
    default: RedisServer,
    other: RedisServer,
}

impl Platform {
    async fn create() -> Self {
        let (team, shop) = (Namespace::create().await, Namespace::create().await);
        Self { team, shop, default: RedisServer::start(), other: RedisServer::start() }
    }

    /// Starts an operator; the endpoint `other` is for the namespaces `allowed`.
    async fn operator(&self, allowed: &[&str]) -> RunningOperator {
        let endpoints = json!({"endpoints": [
            {"name": "default", "url": self.default.url()},
            {"name": "other", "url": self.other.url(), "namespaces": allowed},
        ]});
        let namespaces = vec![self.team.name.clone(), self.shop.name.clone()];
        let setup = Setup { endpoints, namespaces, ..Setup::new(&self.team, &self.default) };
        RunningOperator::start_as(setup).await
    }
}

fn group_on(endpoint: &str) -> Value {
    json!({"stream": "orders", "group": "billing", "replicas": 2, "redis": {"name": endpoint}})
}

/// Makes a resource for the group on this endpoint, and waits until it runs.
async fn run(namespace: &Namespace, name: &str, endpoint: &str) {
    namespace.apply(name, group_on(endpoint)).await;
    namespace.run_pods(name, 2).await;
    namespace.until_state(name, "Idle").await;
}

/// Waits until the operator has decided about the last change of the resource, and returns its STATE.
async fn state(namespace: &Namespace, resource: &EventConsumerGroup) -> String {
    let generation = resource.metadata.generation;
    let seen = |status: &EventConsumerGroupStatus| status.observed_generation == generation;
    let name = resource.name_any();
    let resource = namespace.until(&name, "its change was seen", SOON, seen).await;
    condition(resource.status.as_ref().unwrap(), "Ready").unwrap().reason.clone()
}

/// Asserts that the resource `name` runs its two pods and goes on to, after a change of its own was carried out.
async fn assert_runs(namespace: &Namespace, name: &str, mut fields: Value) {
    fields["eventTypes"] = json!(["changed"]);
    let resource = namespace.apply(name, fields).await;
    assert_ne!(state(namespace, &resource).await, "Conflict");
    let deployment = namespace.api::<Deployment>().get(&format!("ecg-{name}")).await.unwrap();
    assert_eq!(deployment.spec.unwrap().replicas, Some(2));
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_resource_that_is_edited_to_an_endpoint_it_may_not_use_stops_nobody() {
    let platform = Platform::create().await;
    let (team, shop) = (&platform.team, &platform.shop);
    let _operator = platform.operator(&[&shop.name]).await;
    run(team, "theirs", "default").await;
    run(shop, "ours", "other").await;
    let edited = team.apply("theirs", group_on("other")).await;
    assert_eq!(state(team, &edited).await, "EndpointNotAllowed");
    assert_runs(shop, "ours", group_on("other")).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_resource_that_is_edited_to_another_server_claims_its_group_last() {
    let platform = Platform::create().await;
    let (team, shop) = (&platform.team, &platform.shop);
    let _operator = platform.operator(&["*"]).await;
    run(team, "theirs", "default").await;
    run(shop, "ours", "other").await;
    let edited = team.apply("theirs", group_on("other")).await;
    assert_eq!(state(team, &edited).await, "Conflict");
    assert_runs(shop, "ours", group_on("other")).await;
    let resources = shop.api::<EventConsumerGroup>();
    resources.delete("ours", &DeleteParams::background()).await.unwrap();
    let ours = |status: &EventConsumerGroupStatus| condition(status, "Conflict").is_none();
    team.until("theirs", "it has the group now", SOON, ours).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn an_older_resource_that_becomes_valid_takes_no_group_that_another_one_runs() {
    let platform = Platform::create().await;
    let (team, shop) = (&platform.team, &platform.shop);
    let operator = platform.operator(&[&shop.name]).await;
    let older = team.apply("theirs", group_on("other")).await;
    assert_eq!(state(team, &older).await, "EndpointNotAllowed");
    run(shop, "ours", "other").await;
    operator.end().await;
    // The administrator allows it for all, and moves the endpoint to another server at the same time.
    let moved = Platform { other: RedisServer::start(), ..platform };
    let (team, shop) = (&moved.team, &moved.shop);
    let _operator = moved.operator(&["*"]).await;
    team.until_state("theirs", "Conflict").await;
    assert_runs(shop, "ours", group_on("other")).await;
}
