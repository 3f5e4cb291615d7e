//! The operator as a program: who leads, how it ends, and what it says at the start.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use eventbus_operator::settings::LeaseTimes;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tempfile::TempDir;
use tests::api::{Namespace, RunningOperator, SOON, Setup};
use tests::programs::Running;
use tests::proxy::TcpProxy;
use tests::redis::RedisServer;
use tests::wait;

/// The holder of the operators' lease.
async fn holder(namespace: &Namespace) -> Option<String> {
    let lease = namespace.api::<Lease>().get_opt("eventbus-operator").await.unwrap()?;
    lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
}

async fn until_leased(namespace: &Namespace, by: impl Fn(&str) -> bool) -> String {
    wait::until("the lease is held", SOON, async || {
        holder(namespace).await.filter(|holder| by(holder))
    })
    .await
}

/// What a program needs to reach the API server with the namespace as its own.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(namespace: &Namespace, redis: &RedisServer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let output = namespace.kubectl(&["config", "view", "--raw", "--minify", "--flatten"], "");
        let mut config: serde_json::Value =
            serde_yaml::from_str(&String::from_utf8(output.stdout).unwrap()).unwrap();
        config["contexts"][0]["context"]["namespace"] = json!(namespace.name);
        std::fs::write(directory.path().join("kubeconfig"), config.to_string()).unwrap();
        let endpoints = json!({"endpoints": [{"name": "default", "url": redis.url()}]});
        std::fs::write(directory.path().join("endpoints.yaml"), endpoints.to_string()).unwrap();
        Self { directory }
    }

    fn start(&self, namespace: &Namespace, host: &str) -> Running {
        let path = |name: &str| self.directory.path().join(name).to_string_lossy().into_owned();
        let settings = [
            ("KUBECONFIG", &*path("kubeconfig")),
            ("ENDPOINTS_FILE", &path("endpoints.yaml")),
            ("CONSUMER_IMAGE", "consumer:test"),
            ("WATCH_NAMESPACES", &namespace.name),
            ("HOSTNAME", host),
            ("LISTEN", "127.0.0.1:0"),
            ("LOG_FORMAT", "json"),
        ];
        Running::start("operator", &["run"], &settings)
    }
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_program_that_is_told_to_end_hands_its_lease_to_the_next_one_at_once() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let files = Files::new(&namespace, &redis);
    let mut first = files.start(&namespace, "first");
    until_leased(&namespace, |holder| holder.starts_with("first_")).await;
    let _second = files.start(&namespace, "second");
    namespace.apply("orders", json!({})).await;
    namespace.until_deployment("orders", "the first one leads", |_| true).await;
    assert!(until_leased(&namespace, |_| true).await.starts_with("first_"));
    first.terminate();
    let ended = first.ended(SOON).await;
    assert_eq!(ended.code(), Some(0), "{}", first.output());
    // It has let its lease go, which would otherwise be its own for 15 s more.
    let next = holder(&namespace).await;
    assert!(next.as_ref().is_none_or(|holder| holder.starts_with("second_")), "{next:?}");
    until_leased(&namespace, |holder| holder.starts_with("second_")).await;
    namespace.apply("more", json!({"stream": "more"})).await;
    namespace.until_deployment("more", "the second one leads", |_| true).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_leader_whose_lease_was_taken_stops_writing_and_waits_for_its_turn() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let operator = RunningOperator::start(&namespace, &redis).await;
    until_leased(&namespace, |holder| holder.starts_with("test-")).await;
    let now = jiff::Timestamp::from_second(1).unwrap();
    let taken = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {
        "holderIdentity": "thief", "leaseDurationSeconds": 3, "renewTime": format!("{now:.6}")}});
    let leases = namespace.api::<Lease>();
    let patch = Patch::Apply(taken);
    leases.patch("eventbus-operator", &PatchParams::apply("test").force(), &patch).await.unwrap();
    wait::until("it is not the leader any more", SOON, async || {
        let (_, text) = operator.get("/metrics").await;
        text.contains("\neventbus_leader 0\n").then_some(())
    })
    .await;
    namespace.apply("orders", json!({})).await;
    // The thief never renews: after its three seconds the operator leads again, and only then writes.
    until_leased(&namespace, |holder| holder.starts_with("test-")).await;
    namespace.until_deployment("orders", "it leads again", |_| true).await;
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_leader_that_cannot_renew_its_lease_stops_writing_before_another_one_begins() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let lease = LeaseTimes {
        duration: Duration::from_secs(10),
        renew_deadline: Duration::from_secs(2),
        retry: Duration::from_millis(300),
    };
    let mut kubernetes = namespace.config();
    let server = kubernetes.cluster_url.authority().unwrap().as_str().parse().unwrap();
    let proxy = TcpProxy::start(server).await;
    kubernetes.cluster_url = format!("https://{}", proxy.address()).parse().unwrap();
    let setup = || Setup { lease, ..Setup::new(&namespace, &redis) };
    let first = RunningOperator::start_as(Setup { kubernetes, ..setup() }).await;
    let leader = until_leased(&namespace, |_| true).await;
    let second = RunningOperator::start_as(setup()).await;
    namespace.apply("orders", json!({})).await;
    namespace.until_deployment("orders", "the first one leads", |_| true).await;
    proxy.fall_silent();
    // It has 2 s for that, and nobody else may begin before 10 s; a busy machine gets the time between.
    wait::until("the first one stepped down", lease.duration, async || {
        let (_, text) = first.get("/metrics").await;
        text.contains("\neventbus_leader 0\n").then_some(())
    })
    .await;
    assert_eq!(holder(&namespace).await.as_ref(), Some(&leader), "nobody else leads yet");
    until_leased(&namespace, |holder| holder != leader).await;
    namespace.apply("more", json!({"stream": "more"})).await;
    namespace.until_deployment("more", "the second one leads", |_| true).await;
    proxy.resume();
    wait::until("the first one waits for its turn", SOON, async || {
        (first.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    let (_, text) = first.get("/metrics").await;
    assert!(text.contains("\neventbus_leader 0\n"), "{text}");
    second.end().await;
}

#[tokio::test]
async fn an_operator_waits_for_the_definition_of_its_resource() {
    // An API server that does not know the resource at first.
    let (installed, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (knows, counted) = (Arc::clone(&installed), Arc::clone(&asked));
    let router = axum::Router::new().fallback(move |uri: axum::http::Uri| async move {
        let is_resource = uri.path().contains("eventconsumergroups");
        if is_resource && knows.load(Ordering::SeqCst) {
            let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": {}, "items": []});
            return (axum::http::StatusCode::OK, axum::Json(list));
        }
        if uri.path().contains("leases") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "not found", "reason": "NotFound", "code": 404});
        (axum::http::StatusCode::NOT_FOUND, axum::Json(status))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let setup = Setup {
        endpoints: json!({"endpoints": []}),
        namespaces: Vec::new(),
        lease: LeaseTimes::default(),
        watch: None,
        kubernetes: kube::Config::new(url),
    };
    let operator = RunningOperator::start_as(setup).await;
    wait::until("it serves its probes meanwhile", SOON, async || {
        let (livez, readyz) = (operator.get("/livez").await.0, operator.get("/readyz").await.0);
        ((livez, readyz) == (200, 503)).then_some(())
    })
    .await;
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    installed.store(true, Ordering::SeqCst);
    wait::until("it takes part in the election", SOON, async || {
        (asked.load(Ordering::SeqCst) > 0 && operator.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    operator.end().await;
    server.abort();
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn two_operators_never_write_the_same_resource() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let first = RunningOperator::start(&namespace, &redis).await;
    until_leased(&namespace, |_| true).await;
    let second = RunningOperator::start(&namespace, &redis).await;
    namespace.apply("orders", json!({})).await;
    namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    wait::until("the second one is ready to take over", SOON, async || {
        (second.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    let (_, text) = second.get("/metrics").await;
    assert!(text.contains("\neventbus_leader 0\n"), "{text}");
    assert!(!text.contains("eventbus_reconcile_total{"), "{text}");
    let (_, text) = first.get("/metrics").await;
    assert!(text.contains("\neventbus_leader 1\n"), "{text}");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn probes_tell_a_living_and_ready_operator() {
    let (namespace, redis) = (Namespace::create().await, RedisServer::start());
    let operator = RunningOperator::start(&namespace, &redis).await;
    assert_eq!(operator.get("/livez").await.0, 200);
    wait::until("it leads and knows the cluster", SOON, async || {
        let (_, text) = operator.get("/metrics").await;
        let leads = text.contains("\neventbus_leader 1\n");
        (leads && operator.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    operator.end().await;
    assert_eq!(holder(&namespace).await, None);
    let deployments = namespace.api::<Deployment>().list(&Default::default()).await.unwrap();
    assert!(deployments.items.is_empty());
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn an_operator_that_may_not_watch_one_of_its_namespaces_serves_the_other_and_ends() {
    let (namespace, forbidden) = (Namespace::create().await, Namespace::create().await);
    let redis = RedisServer::start();
    let user = format!("operator-of-{}", namespace.name);
    let permissions = format!(
        "{{kind: Role, apiVersion: rbac.authorization.k8s.io/v1, metadata: {{name: all}},
          rules: [{{apiGroups: ['*'], resources: ['*'], verbs: ['*']}}]}}
---
{{kind: RoleBinding, apiVersion: rbac.authorization.k8s.io/v1, metadata: {{name: all}},
  roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: all}},
  subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]}}"
    );
    let output = namespace.kubectl(&["apply", "-f", "-"], &permissions);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut setup = Setup::new(&namespace, &redis);
    setup.kubernetes.auth_info.impersonate = Some(user);
    setup.namespaces.push(forbidden.name.clone());
    let operator = RunningOperator::start_as(setup).await;
    namespace.apply("orders", json!({})).await;
    namespace.until_deployment("orders", "there is a Deployment", |_| true).await;
    operator.end().await;
    assert_eq!(holder(&namespace).await, None);
}
