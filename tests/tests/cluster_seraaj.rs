//! The example platform as pods: from a request to its service over Redis and the consumer image to the handler.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use serde_json::{Value, json};
use tests::cluster::{LONG, file, install, kubectl};
use tests::wait;

const SERVICES: [&str; 3] = ["applications", "matching", "bff"];

/// A path of one of the platform's services, by way of the API server.
fn path(service: &str, path: &str) -> String {
    format!("/api/v1/namespaces/default/services/{service}:http/proxy{path}")
}

/// Applies the platform, as its files have it, and waits until its services and groups are ready.
fn apply() {
    install();
    for part in ["services", "groups"] {
        let part = file(&format!("examples/seraaj/{part}.yaml"));
        kubectl(&format!("apply --validate=strict -f {part}"), "");
    }
    for name in SERVICES {
        kubectl(&format!("rollout status deployment/{name} --timeout 120s"), "");
        kubectl(&format!("wait ecg/{name} --for=condition=Ready --timeout 120s"), "");
        kubectl(&format!("rollout status deployment/ecg-{name} --timeout 120s"), "");
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn a_posted_application_is_handled_and_the_lag_goes_back_to_zero() {
    apply();
    let body = json!({"volunteerId": "v-1", "opportunityId": "library"}).to_string();
    let applied = path("applications", "/api/applications");
    let sent = parsed(&kubectl(&format!("create --raw {applied} -f -"), &body));
    let line = format!("New application submitted: {}", sent["applicationId"].as_str().unwrap());

    wait::until("the handler of the group applications has printed it", LONG, async || {
        let printed = kubectl("logs deployment/applications --tail -1", "");
        (printed.lines().filter(|printed| *printed == line).count() == 1).then_some(())
    })
    .await;
    let health = wait::until("the bff tells that no group has any lag", LONG, async || {
        let health = kubectl(&format!("get --raw {}", path("bff", "/api/health/events")), "");
        let health = parsed(&health);
        let is_at_0 = |name| health["consumer_groups"][name]["lag"] == 0;
        SERVICES.into_iter().all(is_at_0).then_some(health)
    })
    .await;
    assert_eq!(health["redis_connected"], true);
    wait::until("the resources tell the same", LONG, async || {
        let lags =
            kubectl("get ecg applications matching bff -o jsonpath={.items[*].status.lag}", "");
        (lags == "0 0 0").then_some(())
    })
    .await;
    let row = kubectl("get ecg analytics --no-headers", "");
    assert!(row.contains("Suspended") && row.contains("0/0"), "{row}");
}
