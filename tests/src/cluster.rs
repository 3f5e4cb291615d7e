//! The product in a whole cluster, as `tests/cluster/run` shows it: the chart installed once, a namespace a test.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::wait;

/// Longer than anything in a cluster takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(120);

const SYSTEM: &str = "eventbus-system";
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Runs kubectl with words and a standard input, and answers its output.
///
/// # Panics
/// If it fails; its error output says why.
pub fn kubectl(words: &str, input: &str) -> String {
    run("kubectl", &words.split(' ').collect::<Vec<_>>(), input).unwrap_or_else(|e| panic!("{e}"))
}

/// Sends commands, a line each, to the chart's Redis, and answers what redis-cli prints.
pub fn redis_cli(commands: &str) -> String {
    kubectl(&format!("-n {SYSTEM} exec -i deployment/eventbus-redis -- redis-cli"), commands)
}

/// Returns the answer of the health service.
pub fn health() -> Value {
    let path = format!(
        "/api/v1/namespaces/{SYSTEM}/services/eventbus-health:http/proxy/api/health/events"
    );
    serde_json::from_str(&kubectl(&format!("get --raw {path}"), "")).expect("it answers JSON")
}

/// A path of the repository.
pub fn file(path: &str) -> String {
    format!("{ROOT}/{path}")
}

/// The chart, installed in the cluster once a process.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let (chart, values) = (file("charts/eventbus"), file("tests/cluster/values.yaml"));
        let args = ["upgrade", "--install", "eventbus", &chart, "--namespace", SYSTEM];
        let more = ["--create-namespace", "--values", &values, "--wait", "--timeout", "120s"];
        run("helm", &[args.as_slice(), &more].concat(), "").unwrap_or_else(|e| panic!("{e}"));
    });
}

fn run(program: &str, args: &[&str], input: &str) -> Result<String, String> {
    // Beyond the limits that are given to the programs themselves.
    let mut child = Command::new("timeout")
        .args(["300", program])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    // A program that does not read its input closes it, which is no failure of its own.
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(text).ok_or(format!("{program} {args:?}: {errors}"))
}

/// A namespace of a test's own, under Pod Security `restricted`, with a handler named `notifier`.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes it, with the product in the cluster.
    #[must_use]
    pub fn new(test: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        install();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{test}-{}-{number}", std::process::id()) };
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let metadata = json!({"name": namespace.name, "labels": labels});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        kubectl("create -f -", &object.to_string());
        namespace.kubectl(&format!("apply -f {}", file("examples/notifier.yaml")));
        namespace.kubectl("rollout status deployment/notifier --timeout 120s");
        namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream of this test, in the chart's Redis.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("stream:{}", self.name)
    }

    /// Runs kubectl in this namespace.
    pub fn kubectl(&self, words: &str) -> String {
        kubectl(&format!("-n {} {words}", self.name), "")
    }

    /// Applies an EventConsumerGroup on this test's stream that hands its events to the notifier.
    pub fn apply(&self, name: &str, spec: Value) {
        let service = json!({"name": "notifier", "path": "/events"});
        let mut whole = json!({"stream": self.stream(), "handler": {"http": {"service": service}}});
        let fields = whole.as_object_mut().expect("it is an object");
        fields.extend(spec.as_object().expect("a spec is an object").clone());
        let object = json!({
            "apiVersion": "eventbus.seraaj.dev/v1alpha1",
            "kind": "EventConsumerGroup",
            "metadata": {"name": name},
            "spec": whole,
        });
        kubectl(&format!("-n {} apply -f -", self.name), &object.to_string());
    }

    /// Waits until the resource is Ready.
    pub fn ready(&self, name: &str) {
        self.kubectl(&format!("wait ecg/{name} --for=condition=Ready --timeout 120s"));
    }

    /// The resource's status.
    #[must_use]
    pub fn status(&self, name: &str) -> Value {
        let object: Value = serde_json::from_str(&self.kubectl(&format!("get ecg {name} -o json")))
            .expect("kubectl prints JSON");
        object["status"].clone()
    }

    /// One row of `kubectl get ecg`, by the names of its columns. An empty cell is missing.
    #[must_use]
    pub fn row(&self, name: &str) -> Vec<(String, String)> {
        let table = self.kubectl(&format!("get ecg {name}"));
        let mut lines = table.lines();
        let (head, row) =
            (lines.next().expect("there is a row"), lines.next().expect("there is a row"));
        let mut columns: Vec<(usize, String)> = Vec::new();
        for (at, _) in head.match_indices(|c: char| !c.is_whitespace()) {
            if at == 0 || head.as_bytes()[at - 1] == b' ' {
                let title = head[at..].split_whitespace().next().expect("a column has a title");
                columns.push((at, title.to_owned()));
            }
        }
        let ends = columns.iter().skip(1).map(|(at, _)| *at).chain([row.len().max(head.len())]);
        let cell = |from: usize, to: usize| row.get(from..to.min(row.len())).unwrap_or("").trim();
        let cells = columns
            .iter()
            .zip(ends)
            .map(|((from, title), to)| (title.clone(), cell(*from, to).to_owned()));
        cells.collect()
    }

    /// Publishes events in the plainest way; their payloads are `{"n": <number>}`.
    pub fn publish(&self, numbers: std::ops::Range<u32>) {
        let line = |n| {
            format!(
                "XADD {} * type application.submitted payload '{{\"n\":{n}}}' source test ts 2026-01-01T00:00:00Z\n",
                self.stream()
            )
        };
        redis_cli(&numbers.map(line).collect::<String>());
    }

    /// Returns what the notifier received: `count`, `begun`, `event_ids`, `types`, `refused`.
    #[must_use]
    pub fn received(&self) -> Value {
        serde_json::from_str(&kubectl(&format!("get --raw {}/received", self.notifier()), ""))
            .expect("it answers JSON")
    }

    /// Tells the notifier how to answer, such as `fail/503` or `delay/5000`.
    pub fn notifier_shall(&self, how: &str) {
        kubectl(&format!("create --raw {}/{how} -f /dev/null", self.notifier()), "");
    }

    fn notifier(&self) -> String {
        format!("/api/v1/namespaces/{}/services/notifier:http/proxy", self.name)
    }

    /// Waits until the notifier has answered `count` events with 200.
    pub async fn handled(&self, count: u64) {
        self.until(&format!("{count} events are handled"), || {
            self.received()["count"].as_u64() >= Some(count)
        })
        .await;
    }

    /// Waits for a condition.
    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        wait::until(what, LONG, async || condition().then_some(())).await;
    }
}

impl Drop for Namespace {
    /// A failed test leaves its namespace for `tests/cluster/logs` to look into.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // The cluster ends with the run; a namespace that stays is no reason to fail.
            run("kubectl", &["delete", "namespace", &self.name, "--wait=false"], "").ok();
        }
    }
}
