//! From `kubectl apply` to a handled event, in a real cluster: one test a sentence of what the product promises.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::Duration;

use serde_json::{Value, json};
use tests::cluster::{Namespace, file, health, install, kubectl, redis_cli};
use tests::wait;

const REDIS_URL: &str = "redis://eventbus-redis.eventbus-system.svc:6379";

/// A pod of this name and one container, which passes Pod Security restricted.
fn pod(name: &str, container: &Value) -> Value {
    let mut container = container.clone();
    container["name"] = name.into();
    container["imagePullPolicy"] = "IfNotPresent".into();
    container["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "OnFailure",
            "automountServiceAccountToken": false,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}
            },
            "containers": [container],
        },
    })
}

/// A group's pending entries, by XPENDING's summary.
fn pending(namespace: &Namespace, group: &str) -> u64 {
    let summary = redis_cli(&format!("XPENDING {} {group}\n", namespace.stream()));
    summary.lines().next().and_then(|line| line.parse().ok()).unwrap()
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn applying_the_quickstart_creates_the_group_and_makes_consumer_pods_ready() {
    install();
    kubectl(&format!("apply -f {}", file("examples/notifier.yaml")), "");
    kubectl(&format!("apply --validate=strict -f {}", file("examples/quickstart.yaml")), "");
    kubectl("wait ecg/notifications --for=condition=Ready --timeout 120s", "");
    kubectl("rollout status deployment/ecg-notifications --timeout 120s", "");
    let group = redis_cli("XINFO GROUPS stream:events\n");
    let lines: Vec<&str> = group.lines().collect();
    let at = lines.iter().position(|line| *line == "notifications").expect("the group is there");
    let read = lines[at..].iter().position(|line| *line == "entries-read").unwrap();
    assert!(lines[at + read + 1].parse::<u64>().is_ok(), "ENTRIESREAD is set: {group}");
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn events_published_as_plain_xadd_reach_the_handler_and_are_acknowledged() {
    let namespace = Namespace::new("plain");
    namespace.apply("g", json!({"eventTypes": ["application.*"]}));
    namespace.publish(0..50);
    namespace.handled(50).await;
    namespace.until("all are acknowledged", || pending(&namespace, "g") == 0).await;
    assert_eq!(namespace.received()["event_ids"].as_array().unwrap().len(), 50);
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn events_published_by_the_library_reach_the_handler_and_are_acknowledged() {
    let namespace = Namespace::new("library");
    namespace.apply("g", json!({}));
    let pod = pod(
        "publish",
        &json!({
            "image": "localhost/eventbus-examples:dev",
            "command": ["publish", "--count", "50"],
            "env": [
                {"name": "REDIS_URL", "value": REDIS_URL},
                {"name": "REDIS_STREAM_NAME", "value": namespace.stream()},
            ],
        }),
    );
    kubectl(&format!("-n {} create -f -", namespace.name()), &pod.to_string());
    namespace.handled(50).await;
    namespace.until("all are acknowledged", || pending(&namespace, "g") == 0).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn case_11_a_program_that_cannot_start_leaves_its_reason_in_the_status_of_its_pod() {
    let namespace = Namespace::new("reason");
    let consumer = json!({
        "image": "localhost/eventbus-consumer:dev",
        "args": ["run"],
        "env": [
            {"name": "REDIS_URL", "value": REDIS_URL},
            {"name": "EVENT_GROUP", "value": "g"},
            {"name": "HANDLER_URL", "value": "http://h:99999/e"},
        ],
    });
    let mut pod = pod("misconfigured", &consumer);
    pod["spec"]["restartPolicy"] = "Never".into();
    kubectl(&format!("-n {} create -f -", namespace.name()), &pod.to_string());
    let ended = "get pod misconfigured -o jsonpath={.status.containerStatuses[0].state.terminated}";
    namespace.until("it has ended", || !namespace.kubectl(ended).is_empty()).await;
    let ended: Value = serde_json::from_str(&namespace.kubectl(ended)).unwrap();
    assert_eq!(ended["exitCode"], 2);
    let message = ended["message"].as_str().unwrap();
    assert!(message.starts_with(r#"HANDLER_URL="http://h:99999/e": must be a URL"#), "{message}");
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn an_event_is_acknowledged_only_after_a_2xx_and_the_pods_stay_up_meanwhile() {
    let namespace = Namespace::new("failing");
    namespace.notifier_shall("fail/503");
    namespace.apply("g", json!({"delivery": {"backoff": {"initial": "500ms", "max": "1s"}}}));
    namespace.ready("g");
    namespace.publish(0..5);
    namespace
        .until("each was refused", || namespace.received()["refused"].as_u64() >= Some(10))
        .await;
    assert_eq!(pending(&namespace, "g"), 5);
    let restarts = "get pods -l app.kubernetes.io/instance=g -o jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    assert_eq!(namespace.kubectl(restarts), "0");
    namespace.notifier_shall("fail/200");
    namespace.handled(5).await;
    namespace.until("all are acknowledged", || pending(&namespace, "g") == 0).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn kubectl_get_ecg_shows_the_agreed_columns() {
    let namespace = Namespace::new("columns");
    namespace.apply("g", json!({}));
    namespace.publish(0..3);
    namespace.handled(3).await;
    namespace.until("it came to rest", || namespace.status("g")["lag"] == 0).await;
    namespace.until("it is idle", || namespace.row("g")[4].1 == "Idle").await;
    let row = namespace.row("g");
    let titles: Vec<&str> = row.iter().map(|(title, _)| title.as_str()).collect();
    let agreed = "NAME STREAM GROUP READY STATE LAG PENDING OLDEST DLQ REPLICAS AGE"
        .split(' ')
        .collect::<Vec<_>>();
    assert_eq!(titles, agreed);
    let stream = namespace.stream();
    let cells: Vec<&str> = row.iter().map(|(_, cell)| cell.as_str()).take(10).collect();
    assert_eq!(cells, ["g", &stream, "g", "True", "Idle", "0", "0", "", "0", "1/1"]);
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn the_lag_of_a_suspended_group_is_shown_soon() {
    let namespace = Namespace::new("suspended");
    namespace.apply("g", json!({"suspend": true}));
    namespace.until("it is suspended", || namespace.row("g")[4].1 == "Suspended").await;
    namespace.publish(0..12);
    // Two seconds are promised after quiet, and five otherwise; a busy machine gets five times that.
    wait::until("the lag is shown", Duration::from_secs(25), async || {
        (namespace.row("g")[5].1 == "12").then_some(())
    })
    .await;
    let row = namespace.row("g");
    let cells: Vec<&str> = row.iter().map(|(_, cell)| cell.as_str()).collect();
    assert_eq!((cells[3], cells[6], cells[9]), ("True", "0", "0/0"));
    assert!(cells[7].ends_with('s'), "the oldest event has an age: {cells:?}");
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn kubectl_scale_changes_the_pods() {
    let namespace = Namespace::new("scale");
    namespace.apply("g", json!({}));
    namespace.ready("g");
    for replicas in [3, 1] {
        namespace.kubectl(&format!("scale ecg/g --replicas {replicas}"));
        namespace
            .until("the pods follow", || {
                let pods = namespace.kubectl(
                    "get pods -l app.kubernetes.io/instance=g --field-selector status.phase=Running -o name",
                );
                let expected = format!("{replicas}/{replicas}");
                pods.lines().count() == replicas && namespace.row("g")[9].1 == expected
            })
            .await;
    }
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn deleting_the_resource_removes_the_deployment_and_keeps_group_and_events() {
    let namespace = Namespace::new("delete");
    namespace.apply("g", json!({}));
    namespace.publish(0..3);
    namespace.handled(3).await;
    namespace.kubectl("delete ecg g");
    namespace
        .until("the Deployment and its pods are gone", || {
            namespace
                .kubectl("get deployments,pods -l app.kubernetes.io/instance=g -o name")
                .is_empty()
        })
        .await;
    let stream = namespace.stream();
    assert_eq!(redis_cli(&format!("XLEN {stream}\n")).trim(), "3");
    assert!(redis_cli(&format!("XINFO GROUPS {stream}\n")).lines().any(|line| line == "g"));
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn events_in_the_hands_of_a_killed_pod_are_handled_by_another() {
    let namespace = Namespace::new("kill");
    namespace.notifier_shall("delay/60000");
    namespace.apply("g", json!({"delivery": {"lease": "5s", "timeout": "90s", "concurrency": 4}}));
    namespace.ready("g");
    namespace.publish(0..10);
    namespace.until("four are in its hands", || namespace.received()["begun"] == 4).await;
    namespace.kubectl("delete pods -l app.kubernetes.io/instance=g --force --grace-period 0");
    namespace.notifier_shall("delay/0");
    namespace
        .until("each was handled", || {
            namespace.received()["event_ids"].as_array().is_some_and(|ids| ids.len() == 10)
        })
        .await;
    namespace.until("all are acknowledged", || pending(&namespace, "g") == 0).await;
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn the_health_service_tells_of_configured_groups_and_of_all_that_exist() {
    install();
    let answer = health();
    assert_eq!(answer["redis_connected"], true);
    assert_eq!(answer["consumer_groups"]["bff"], json!({"status": "not_created"}));
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_deployment_that_is_not_ours_is_left_alone() {
    let namespace = Namespace::new("taken");
    namespace.kubectl("create deployment ecg-g --image localhost/pause:1 --replicas 0");
    namespace.apply("g", json!({}));
    namespace.until("it says so", || namespace.row("g")[4].1 == "NameTaken").await;
    let image = "get deployment ecg-g -o jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(namespace.kubectl(image), "localhost/pause:1");
}
