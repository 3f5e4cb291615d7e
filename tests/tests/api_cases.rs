//! Inputs from real life against a real API server: frozen connections, URLs that lead nowhere, names of releases.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::Duration;

use eventbus_api::EventConsumerGroupStatus;
use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tests::api::{Namespace, RunningOperator, SOON, Setup, condition};
use tests::proxy::TcpProxy;
use tests::redis::RedisServer;
use tests::wait;

/// An operator whose connections to the API server go through a proxy, and that leads.
async fn behind_a_proxy(
    namespace: &Namespace,
    redis: &RedisServer,
    watch: Option<Duration>,
) -> (RunningOperator, TcpProxy) {
    let mut kubernetes = namespace.config();
    let server = kubernetes.cluster_url.authority().unwrap().as_str().parse().unwrap();
    let proxy = TcpProxy::start(server).await;
    kubernetes.cluster_url = format!("https://{}", proxy.address()).parse().unwrap();
    let setup = Setup { kubernetes, watch, ..Setup::new(namespace, redis) };
    let operator = RunningOperator::start_as(setup).await;
    namespace.apply("orders", json!({})).await;
    namespace.run_pods("orders", 1).await;
    namespace.until_state("orders", "Idle").await;
    (operator, proxy)
}

/// The time of the last answer to the watch of `resource`.
async fn watch_time(operator: &RunningOperator, namespace: &Namespace, resource: &str) -> f64 {
    let (_, metrics) = operator.get("/metrics").await;
    let name = "eventbus_watch_last_event_timestamp_seconds";
    let labels = format!(r#"{{namespace="{}",resource="{resource}"}} "#, namespace.name);
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(&*labels));
    line.unwrap_or_else(|| panic!("{resource}: {metrics}")).parse().unwrap()
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn case_10_a_change_is_noticed_though_all_connections_are_frozen() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let watch = Some(Duration::from_secs(1));
    let (operator, proxy) = behind_a_proxy(&namespace, &redis, watch).await;
    proxy.strand();
    let frozen = watch_time(&operator, &namespace, "eventconsumergroups").await;
    namespace.apply("more", json!({"stream": "more"})).await;
    namespace.until_deployment("more", "the change is noticed", |_| true).await;
    for resource in ["eventconsumergroups", "deployments"] {
        wait::until("the metric goes on, without an event", SOON, async || {
            let time = watch_time(&operator, &namespace, resource).await;
            // Beyond the first watch after the frozen one, and the one after that.
            (time > frozen + 3.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn case_10_a_frozen_request_is_repeated_and_the_leader_stays() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    // The watches stay frozen to the end: Redis reports the entry, and a request writes the status.
    let watch = Some(Duration::from_secs(250));
    let (operator, proxy) = behind_a_proxy(&namespace, &redis, watch).await;
    // Reconciled at once, they leave several connections open, all of which freeze.
    let names: Vec<String> = (0..8).map(|number| format!("more-{number}")).collect();
    join_all(names.iter().map(|name| namespace.apply(name, json!({ "stream": name })))).await;
    join_all(names.iter().map(|name| namespace.until_state(name, "ConsumersUnavailable"))).await;
    let watched = watch_time(&operator, &namespace, "eventconsumergroups").await;
    let renewed = async || {
        let lease = namespace.api::<Lease>().get("eventbus-operator").await.unwrap();
        lease.spec.unwrap().renew_time.unwrap().0
    };
    proxy.strand();
    let frozen = renewed().await;
    let mut conn = redis.connection().await;
    let mut add = ::redis::cmd("XADD");
    let _: String =
        add.arg("s").arg("*").arg("type").arg("a").query_async(&mut conn).await.unwrap();
    let seen = |status: &EventConsumerGroupStatus| status.lag == Some(1);
    namespace.until("orders", "the entry is in the status", SOON, seen).await;
    wait::until("the lease is renewed", SOON, async || {
        (renewed().await > frozen + Duration::from_secs(1)).then_some(())
    })
    .await;
    // A leader that stepped down for a moment has new watches.
    assert_eq!(watch_time(&operator, &namespace, "eventconsumergroups").await, watched);
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn case_11_a_url_that_pods_would_refuse_is_an_invalid_template() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let _operator = RunningOperator::start(&namespace, &redis).await;
    let url = |url: &str| json!({"handler": {"http": {"url": url}}});
    let service =
        json!({"handler": {"http": {"service": {"name": "web", "path": "é".repeat(1_024)}}}});
    let port = "must be a URL such as http://notifier.default.svc/events: invalid port number";
    for (name, fields, words) in [
        (
            "loopback",
            url("http://localhost:3000/e"),
            "handler.http.url: must not lead to a loopback address",
        ),
        ("port", url("http://notifier:99999/e"), port),
        ("ports", url("http://h:8080:9090/e"), port),
        ("path", service, "handler.http.service: must have at most 2048 bytes"),
        ("stream", json!({"stream": "a\0b"}), "stream: must not contain a NUL character"),
    ] {
        namespace.apply(name, fields).await;
        let resource = namespace.until_state(name, "InvalidTemplate").await;
        let status = resource.status.unwrap();
        let message = &condition(&status, "Ready").unwrap().message;
        assert!(message.contains(words), "{name}: {message}");
    }
}

/// A pod of `resource` whose container ended with this code and message.
async fn ended_pod(namespace: &Namespace, resource: &str, code: i32, message: &str) {
    let params = PostParams::default();
    let account: ServiceAccount =
        serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    namespace.api::<ServiceAccount>().create(&params, &account).await.unwrap();
    let name = format!("ecg-{resource}-1");
    let pod = json!({
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/name": "eventbus-consumer", "app.kubernetes.io/instance": resource}},
        "spec": {"containers": [{"name": "consumer", "image": "consumer:test"}],
            "serviceAccountName": "default"},
    });
    let pods = namespace.api::<Pod>();
    pods.create(&params, &serde_json::from_value(pod).unwrap()).await.unwrap();
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
    let ended = json!({"terminated": {"exitCode": code, "reason": "Error", "message": message}});
    let status: Value = json!({"status": {"containerStatuses": [{
        "name": "consumer", "image": "consumer:test", "imageID": "", "ready": false, "restartCount": 1,
        "state": waiting, "lastState": ended}]}});
    pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn case_11_the_condition_shows_why_a_pod_ended() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let _operator = RunningOperator::start(&namespace, &redis).await;
    ended_pod(&namespace, "orders", 2, "EVENT_GROUP=\"\": must be set\nHANDLER=\"x\": bad\n").await;
    namespace.apply("orders", json!({})).await;
    let words = "exit code 2: EVENT_GROUP=\"\": must be set; HANDLER=\"x\": bad";
    for kind in ["ConsumersAvailable", "Ready"] {
        let reported = |status: &EventConsumerGroupStatus| {
            condition(status, kind).is_some_and(|condition| condition.message.contains(words))
        };
        namespace.until("orders", &format!("{kind} tells the reason"), SOON, reported).await;
    }
}
