//! The operator's command line, without an API server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::Duration;

use tests::programs::Running;

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
