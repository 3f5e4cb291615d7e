//! What the chart makes of its values: rights, pods, and words for values that make no sense.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};
use tests::cluster::{file, kubectl};
use tests::kubelet;

/// Values that touch everything a pod is made of.
const ALL: &str = r#"
imagePullSecrets: [{name: pull}]
endpoints:
- name: prod
  url: rediss://redis.example.com:6379
  secretName: redis-credentials
  usernameKey: user
  passwordKey: redis-password
  caKey: ca.crt
  certKey: tls.crt
  keyKey: tls.key
  namespaces: [shop]
  streams: ["orders:*"]
operator: {podLabels: {a: b}, podAnnotations: {a: b}, nodeSelector: {a: b}, extraEnv: [{name: A, value: b}]}
health: {endpoint: prod, podLabels: {a: b}, podAnnotations: {a: b}, extraEnv: [{name: A, value: b}]}
redis: {enabled: true, persistence: {enabled: true}}
"#;

/// The manifest of a release of the chart with these values, or what Helm says against them.
fn manifest(release: &str, namespace: &str, values: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("values.yaml");
    std::fs::write(&path, values).expect("the directory can be written");
    let output = Command::new("helm")
        .args(["template", release, &file("charts/eventbus"), "--namespace", namespace])
        .arg("--values")
        .arg(path)
        .output()
        .expect("helm can be started");
    let text = |bytes| String::from_utf8(bytes).expect("helm writes UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The objects that the chart renders with these values, or what it says against them.
fn render(values: &str) -> Result<Vec<Value>, String> {
    let objects = manifest("bus", "system", values)?;
    let parsed = objects.split("\n---\n").map(serde_yaml::from_str::<Value>);
    Ok(parsed
        .map(|object| object.expect("the chart renders YAML"))
        .filter(|o| o.is_object())
        .collect())
}

/// What the roles of the operator allow: `scope group/resource verb`.
fn permissions(objects: &[Value]) -> BTreeSet<String> {
    let roles = objects.iter().filter(|object| {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        object["rules"].is_array() && name.starts_with("bus-eventbus-operator")
    });
    let mut permissions = BTreeSet::new();
    for role in roles {
        let scope = role["metadata"]["namespace"].as_str().unwrap_or("*");
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in names(&rule["apiGroups"]) {
                for resource in names(&rule["resources"]) {
                    let verbs = names(&rule["verbs"]);
                    permissions
                        .extend(verbs.map(|verb| format!("{scope} {group}/{resource} {verb}")));
                }
            }
        }
    }
    permissions
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().map(|name| name.as_str().expect("a name"))
}

/// What the operator needs in one scope.
fn needed(scope: &str) -> BTreeSet<String> {
    [
        ("eventbus.seraaj.dev/eventconsumergroups", "list watch"),
        ("eventbus.seraaj.dev/eventconsumergroups/status", "patch"),
        ("apps/deployments", "get list watch create patch"),
        ("/pods", "list"),
        ("events.k8s.io/events", "create patch"),
    ]
    .into_iter()
    .flat_map(|(resource, verbs)| {
        verbs.split(' ').map(move |verb| format!("{scope} {resource} {verb}"))
    })
    .collect()
}

fn leases() -> BTreeSet<String> {
    let verbs = ["create", "get", "update"].into_iter();
    verbs.map(|verb| format!("system coordination.k8s.io/leases {verb}")).collect()
}

#[test]
#[ignore = "needs a cluster"]
fn the_operator_is_allowed_what_it_needs_and_nothing_else() {
    let objects = render("redis: {enabled: true}").unwrap();
    assert_eq!(permissions(&objects), &needed("*") | &leases());
}

#[test]
#[ignore = "needs a cluster"]
fn with_watch_namespaces_the_rights_of_the_operator_end_there() {
    let objects = render("{redis: {enabled: true}, watchNamespaces: [shop, bank]}").unwrap();
    let expected = &(&needed("shop") | &needed("bank")) | &leases();
    assert_eq!(permissions(&objects), expected);
    assert!(!objects.iter().any(|object| object["kind"] == "ClusterRoleBinding"));
}

#[test]
#[ignore = "needs a cluster"]
fn every_pod_of_the_chart_passes_pod_security_restricted() {
    let namespace = format!("chart-{}", std::process::id());
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let made = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
    kubectl("create -f -", &made.to_string());
    kubectl(&format!("-n {namespace} create serviceaccount of-the-test"), "");

    let objects = render(ALL).unwrap();
    let deployments: Vec<&Value> = objects.iter().filter(|o| o["kind"] == "Deployment").collect();
    assert_eq!(deployments.len(), 3);
    for deployment in deployments {
        let mut pod = deployment["spec"]["template"].clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = deployment["metadata"]["name"].clone();
        // Its own comes with the release, which is not installed here.
        pod["spec"]["serviceAccountName"] = "of-the-test".into();
        let words = format!("-n {namespace} create --dry-run=server --validate=strict -f -");
        kubectl(&words, &pod.to_string());
    }
    kubectl(&format!("delete namespace {namespace} --wait=false"), "");
}

#[test]
#[ignore = "needs a cluster"]
fn credentials_reach_the_programs_as_files_and_the_operator_is_told_of_the_secret() {
    let objects = render(ALL).unwrap();
    let find = |kind: &str, name: &str| {
        objects
            .iter()
            .find(|o| o["kind"] == kind && o["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
    };
    let endpoints = find("ConfigMap", "bus-eventbus-endpoints")["data"]["endpoints.yaml"].clone();
    let endpoints: Value = serde_yaml::from_str(endpoints.as_str().unwrap()).unwrap();
    let expected = json!([
        {
            "name": "default",
            "url": "redis://bus-eventbus-redis.system.svc:6379",
            "namespaces": ["*"],
            "streams": ["*"],
        },
        {
            "name": "prod",
            "url": "rediss://redis.example.com:6379",
            "credentialsDir": "/etc/eventbus/redis/prod",
            "secretName": "redis-credentials",
            "namespaces": ["shop"],
            "streams": ["orders:*"],
        },
    ]);
    assert_eq!(endpoints["endpoints"], expected);
    let files = json!([
        {"key": "ca.crt", "path": "ca.crt"},
        {"key": "tls.crt", "path": "tls.crt"},
        {"key": "tls.key", "path": "tls.key"},
        {"key": "redis-password", "path": "password"},
        {"key": "user", "path": "username"},
    ]);
    for name in ["bus-eventbus-operator", "bus-eventbus-health"] {
        let pod = &find("Deployment", name)["spec"]["template"]["spec"];
        let volumes = pod["volumes"].as_array().unwrap();
        let secret = volumes.iter().find(|volume| volume["name"] == "redis-prod").unwrap();
        assert_eq!(secret["secret"]["items"], files, "{name}");
    }
    let health = &find("Deployment", "bus-eventbus-health")["spec"]["template"]["spec"];
    let env = health["containers"][0]["env"].as_array().unwrap();
    let password = env.iter().find(|env| env["name"] == "REDIS_PASSWORD_FILE").unwrap();
    assert_eq!(password["value"], "/etc/eventbus/redis/prod/password");
}

#[test]
#[ignore = "needs a cluster"]
fn values_that_make_no_sense_are_refused_with_the_way_out() {
    let endpoint = |text: &str| {
        format!("endpoints: [{{name: a, url: 'redis://h:6379'{text}}}]\nhealth: {{endpoint: a}}")
    };
    assert!(render(&endpoint("")).is_ok());
    let cases = [
        (String::new(), "list one in endpoints, or set redis.enabled"),
        (
            "redis: {enabled: true}\nredsi: {}".to_owned(),
            "additional properties 'redsi' not allowed",
        ),
        (endpoint(", namespaces: []"), "'/endpoints/0/namespaces': minItems: got 0, want 1"),
        (endpoint(", streams: []"), "'/endpoints/0/streams': minItems: got 0, want 1"),
        (endpoint("").replace("//h", "//u:p@h"), "the url must not contain credentials"),
        (endpoint(", secretName: s"), "secretName requires the keys of the Secret"),
        (endpoint(", passwordKey: s"), "certKey and keyKey require secretName"),
        (endpoint("").replace("endpoint: a", "endpoint: b"), "endpoint b is not defined"),
        (endpoint("}, {name: a, url: 'redis://i:6379'"), "endpoint a is defined twice"),
    ];
    for (values, words) in cases {
        let error = render(&values).expect_err(&values);
        assert!(error.contains(words), "{values}\n{error}");
    }
}

#[test]
#[ignore = "needs a cluster"]
fn case_18_every_release_and_override_makes_objects_that_the_api_server_accepts() {
    // Of digits alone, which YAML reads as a number where it is not quoted.
    let namespace = std::process::id().to_string();
    kubectl(&format!("create namespace {namespace}"), "");
    let long = "r".repeat(53);
    let overrides = |name: &str, value: &str| format!("{name}: {value:?}\n");
    let endpoint = |name: &str| {
        format!(
            "health: {{endpoint: {name:?}}}\nendpoints: [{{name: {name:?}, url: 'redis://h', secretName: '1', passwordKey: k}}]\n"
        )
    };
    for (release, values) in [
        ("my.release", String::new()),
        ("1st", String::new()),
        ("123", String::new()),
        ("1e3", String::new()),
        ("true", String::new()),
        (&long, String::new()),
        ("bus", overrides("fullnameOverride", "My_Bus.")),
        ("bus", overrides("fullnameOverride", &format!("{}-x", "f".repeat(53)))),
        ("bus", overrides("nameOverride", "123")),
        ("bus", overrides("nameOverride", &format!("-a b é{}.", "n".repeat(70)))),
        ("bus", endpoint("1e3")),
        ("bus", endpoint(&"e".repeat(63))),
        ("bus", format!("watchNamespaces: [{namespace:?}]\n")),
        ("bus", "operator: {serviceAccount: {name: '123'}}\n".to_owned()),
    ] {
        let redis = "redis: {enabled: true, maxMemory: '100000000', persistence: {enabled: true}}";
        let manifest = manifest(release, &namespace, &format!("{values}{redis}"));
        let manifest = manifest.unwrap_or_else(|error| panic!("{release} {values}: {error}"));
        // Prints what the server says, with the object.
        kubectl("apply --server-side --dry-run=server --validate=strict -f -", &manifest);
    }
    kubectl(&format!("delete namespace {namespace} --wait=false"), "");
}

#[test]
#[ignore = "needs a cluster"]
fn case_04_a_dollar_sign_in_any_value_arrives_as_it_is() {
    let odd = "a$$b $(LISTEN) $$(LISTEN) {{ .Release.Name }} \"'";
    let values = json!({
        "redis": {"enabled": true},
        "logging": {"level": odd},
        "health": {"stream": odd, "endpoint": "odd"},
        "consumer": {"image": {"repository": odd}},
        "endpoints": [{"name": "odd", "url": format!("redis://h/{odd}")}],
    });
    let objects = render(&values.to_string()).unwrap();
    let mut arrived = BTreeSet::new();
    for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        for word in
            ["args", "command"].iter().flat_map(|list| container[*list].as_array()).flatten()
        {
            assert!(!word.as_str().unwrap().contains('$'), "{word}");
        }
        let mut defined = BTreeMap::new();
        for variable in container["env"].as_array().into_iter().flatten() {
            let value = kubelet::expanded(variable["value"].as_str().unwrap(), &defined);
            let name = variable["name"].as_str().unwrap().to_owned();
            if value.contains(odd) {
                arrived.insert(name.clone());
            }
            assert!(value.contains(odd) || !value.contains('$'), "{name}: {value}");
            defined.insert(name, value);
        }
    }
    let expected = ["CONSUMER_IMAGE", "REDIS_STREAM_NAME", "REDIS_URL", "RUST_LOG"];
    assert_eq!(arrived, expected.map(str::to_owned).into());
}
