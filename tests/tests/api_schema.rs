//! What a real API server makes of the definition: bad input is refused with its field and the way out.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use serde_json::{Value, json};
use tests::api::Namespace;
use tests::rules::{accepted, refused, spec};

/// The server's words against a new resource.
async fn refusal(namespace: &Namespace, name: &str, spec: &Value) -> String {
    match namespace.try_apply(name, spec).await {
        Ok(_) => String::new(),
        Err(kube::Error::Api(status)) => status.message.clone(),
        Err(error) => panic!("{error}"),
    }
}

/// The server's words against a change.
async fn refused_change(before: Value, after: Value) -> String {
    let namespace = Namespace::create().await;
    namespace.apply("n", before).await;
    refusal(&namespace, "n", &spec(after)).await
}

async fn refused_new(fields: Value) -> String {
    let namespace = Namespace::create().await;
    refusal(&namespace, "n", &spec(fields)).await
}

#[track_caller]
fn assert_names(message: &str, field: &str, way_out: &str) {
    assert!(message.contains(field) && message.contains(way_out), "{message:?}");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn two_handlers_are_refused() {
    let message = refused_new(json!({"handler": {"log": {}, "http": {"url": "http://h"}}})).await;
    assert_names(&message, "spec.handler", "set exactly one of http, log");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_bad_duration_is_refused_with_an_example() {
    let message = refused_new(json!({"delivery": {"timeout": "5 minutes"}})).await;
    assert_names(&message, "spec.delivery.timeout", "must be a duration such as 90s or 1h30m");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_changed_stream_is_refused() {
    let message = refused_change(json!({}), json!({"stream": "z"})).await;
    assert_names(&message, "spec.stream", "create a second resource for the other stream");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn an_unknown_field_is_refused_by_kubectl_apply() {
    let namespace = Namespace::create().await;
    let manifest = "
apiVersion: eventbus.seraaj.dev/v1alpha1
kind: EventConsumerGroup
metadata: {name: orders}
spec: {stream: s, handler: {log: {}}, replica: 3}
";
    let output = namespace.kubectl(&["apply", "-f", "-"], manifest);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(stderr.contains(r#"unknown field "spec.replica""#), "{stderr}");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn every_rule_refuses_what_breaks_it_on_a_real_server() {
    let namespace = Namespace::create().await;
    for (number, case) in refused().into_iter().enumerate() {
        let name = format!("n{number}");
        if let Some(before) = &case.before {
            namespace.try_apply(&name, before).await.unwrap();
        }
        let message = refusal(&namespace, &name, &case.spec).await;
        assert!(message.contains(case.message), "{}: {message:?}", case.what);
    }
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn every_rule_accepts_what_is_at_its_right_side_on_a_real_server() {
    let namespace = Namespace::create().await;
    for (number, (what, before, spec)) in accepted().into_iter().enumerate() {
        let name = format!("n{number}");
        if let Some(before) = &before {
            namespace.try_apply(&name, before).await.unwrap();
        }
        assert_eq!(refusal(&namespace, &name, &spec).await, "", "{what}");
    }
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_name_that_is_too_long_for_a_deployment_is_refused() {
    let namespace = Namespace::create().await;
    let message = refusal(&namespace, &"n".repeat(53), &spec(json!({}))).await;
    assert_names(&message, "metadata.name is too long", "52 characters at most");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn a_null_is_refused_and_not_kept() {
    let message = refused_new(json!({"group": null})).await;
    assert_names(&message, "spec.group", "must be of type string");
}

#[tokio::test]
#[ignore = "needs an API server"]
async fn defaults_stand_in_a_resource_that_says_nothing() {
    let namespace = Namespace::create().await;
    let spec = namespace.apply("n", json!({})).await.spec;
    assert_eq!(spec.delivery, eventbus_api::Delivery::default());
    assert_eq!((spec.suspend, spec.replicas, spec.group), (false, None, None));
}
