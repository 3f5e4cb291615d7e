//! The operator's command line, without an API server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::programs::Running;
use tests::wait;
use tokio::net::TcpListener;
use tokio::sync::Notify;

const SOON: Duration = Duration::from_secs(60);

async fn run(args: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut program = Running::start("operator", args, settings);
    let status = program.ended(SOON).await;
    (status.code(), program.output())
}

#[tokio::test]
async fn all_wrong_settings_are_told_at_once_with_exit_status_2() {
    let settings = [("LISTEN", "here"), ("LOG_FORMAT", "xml"), ("LEASE_NAME", "Not-A-Name")];
    let (code, output) = run(&["run"], &settings).await;
    assert_eq!(code, Some(2), "{output}");
    for name in ["ENDPOINTS_FILE", "CONSUMER_IMAGE", "LISTEN", "LOG_FORMAT", "LEASE_NAME"] {
        assert!(output.contains(&format!("{name}=")), "{name}: {output}");
    }
}

#[tokio::test]
async fn check_tells_what_is_wrong_with_the_endpoints_and_shows_no_password() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("endpoints.yaml");
    std::fs::write(
        &file,
        "endpoints: [{name: a, url: 'redis://u:hunter2@h'}, {name: b, url: 'x'}]",
    )
    .unwrap();
    let path = file.to_string_lossy().into_owned();
    let settings = [("ENDPOINTS_FILE", &*path), ("CONSUMER_IMAGE", "i")];
    let (code, output) = run(&["run", "--check"], &settings).await;
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("\"a\"") && output.contains("\"b\""), "{output}");
    assert!(!output.contains("hunter2"), "{output}");
    std::fs::write(&file, "endpoints: [{name: a, url: 'redis://h'}]").unwrap();
    assert_eq!(run(&["run", "--check"], &settings).await, (Some(0), String::new()));
}

#[tokio::test]
async fn without_a_kubernetes_it_fails_with_exit_status_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("endpoints.yaml");
    std::fs::write(&file, "endpoints: []").unwrap();
    let path = file.to_string_lossy().into_owned();
    let settings =
        [("ENDPOINTS_FILE", &*path), ("CONSUMER_IMAGE", "i"), ("KUBECONFIG", "/nowhere")];
    let (code, output) = run(&["run"], &settings).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("cannot configure the Kubernetes client"), "{output}");
}

#[tokio::test]
async fn crd_prints_the_definition_as_it_is_committed() {
    let (code, output) = run(&["crd"], &[]).await;
    assert_eq!(code, Some(0));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/eventconsumergroups.yaml");
    assert!(output == std::fs::read_to_string(path).unwrap(), "crds/ is stale: make crds");
}

/// An API server that knows no resource, and notes every request.
async fn api_server() -> (SocketAddr, Arc<Notify>) {
    let asked = Arc::new(Notify::new());
    let noted = Arc::clone(&asked);
    let router = axum::Router::new().fallback(move || async move {
        noted.notify_one();
        axum::http::StatusCode::NOT_FOUND
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, asked)
}

/// A directory with a kubeconfig for `server`, with more fields of its cluster, and an endpoints file.
fn files(server: SocketAddr, fields: Value) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = json!({"server": format!("http://{server}")});
    cluster.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": cluster}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "users": [{"name": "c", "user": {}}],
    });
    std::fs::write(directory.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    std::fs::write(directory.path().join("endpoints.yaml"), "endpoints: []").unwrap();
    directory
}

fn started(files: &TempDir, more: &[(&str, &str)]) -> Running {
    let path = |name: &str| files.path().join(name).to_string_lossy().into_owned();
    let (kubeconfig, endpoints) = (path("kubeconfig"), path("endpoints.yaml"));
    let mut settings = vec![
        ("KUBECONFIG", &*kubeconfig),
        ("ENDPOINTS_FILE", &endpoints),
        ("CONSUMER_IMAGE", "i"),
        ("LISTEN", "127.0.0.1:0"),
    ];
    settings.retain(|(name, _)| !more.iter().any(|(changed, _)| changed == name));
    settings.extend(more);
    Running::start("operator", &["run"], &settings)
}

#[tokio::test]
async fn a_file_that_is_malformed_is_told_by_the_place_and_not_by_its_text() {
    let (server, _) = api_server().await;
    let files = files(server, json!({}));
    let torn = [
        ("KUBECONFIG", "users:\n- name: a\n  user:\n    token: [hunter2\n"),
        ("KUBECONFIG", "apiVersion: v1\nkind: Config\nclusters: hunter2\n"),
        ("ENDPOINTS_FILE", "endpoints:\n- name: a\n  redis://u:hunter2@h: x\n"),
        ("ENDPOINTS_FILE", "endpoints:\n- {name: a, url: 'redis://u:hunter2@h\n"),
    ];
    for (setting, text) in torn {
        let path = files.path().join("torn");
        std::fs::write(&path, text).unwrap();
        let mut program = started(&files, &[(setting, path.to_str().unwrap())]);
        let status = program.ended(SOON).await;
        let output = program.output();
        assert!(!status.success() && !output.contains("hunter2"), "{text}: {output}");
        assert!(output.contains("malformed: line "), "{text}: {output}");
        assert_eq!(output.lines().count(), 1, "{output}");
    }
}

#[tokio::test]
async fn case_14_a_proxy_of_the_environment_is_ignored_with_one_warning() {
    for (name, value) in [
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
        ("https_proxy", "socks5://user:hunter2@127.0.0.1:1"),
        ("HTTPS_PROXY", "proxy:3128"),
        ("HTTPS_PROXY", "not a URL"),
    ] {
        let (server, asked) = api_server().await;
        let files = files(server, json!({}));
        let program = started(&files, &[(name, value), ("NO_PROXY", "127.0.0.1")]);
        let what = format!("the API server is asked in spite of {name}={value}");
        wait::within(&what, SOON, asked.notified()).await;
        let output = program.output();
        assert_eq!(output.matches("not used").count(), 1, "{output}");
        assert!(output.contains(&format!("{name} is set and not used")), "{output}");
    }
}

#[tokio::test]
async fn case_14_a_proxy_of_the_kubeconfig_is_an_error_with_the_way_out() {
    let (server, _) = api_server().await;
    let files = files(server, json!({"proxy-url": "http://user:hunter2@127.0.0.1:1"}));
    let mut program = started(&files, &[]);
    let status = program.ended(SOON).await;
    let output = program.output();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("remove proxy-url") && !output.contains("hunter2"), "{output}");
}

#[tokio::test]
async fn case_14_variables_for_debugging_a_library_lead_nowhere_else() {
    let (server, asked) = api_server().await;
    let files = files(server, json!({}));
    let _program = started(&files, &[("KUBE_RS_DEBUG_OVERRIDE_URL", "http://127.0.0.1:1")]);
    wait::within("the server of the kubeconfig is asked", SOON, asked.notified()).await;
}

#[tokio::test]
async fn case_05_every_program_answers_by_ipv6_and_by_ipv4() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().timeout(SOON).build().unwrap();
    let (server, _) = api_server().await;
    let files = files(server, json!({}));
    let both = ("LISTEN", "[::]:0");
    // Nothing serves Redis there; the probes do not need it.
    let redis =
        [("REDIS_URL", "redis://127.0.0.1:1"), ("EVENT_GROUP", "g"), ("HANDLER", "log"), both];
    let programs = [
        ("operator run", started(&files, &[both])),
        (
            "consumer run",
            Running::start("consumer", &["run"], &[&redis[..], &[("HOSTNAME", "h")]].concat()),
        ),
        ("consumer health", Running::start("consumer", &["health"], &redis)),
    ];
    for (name, program) in &programs {
        let port = wait::until(&format!("{name} tells its port"), SOON, async || {
            let output = program.output();
            let (_, rest) = output.split_once("serving HTTP address=[::]:")?;
            rest.split_once('\n').map(|(port, _)| port.to_owned())
        })
        .await;
        for host in ["[::1]", "127.0.0.1"] {
            let url = format!("http://{host}:{port}/livez");
            let answer = client.get(&url).send().await.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(answer.status(), 200, "{name}: {url}");
        }
    }
}
