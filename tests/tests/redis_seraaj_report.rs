//! The report on the example platform: what it says of one that is well, and that it says so of no other.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use eventbus::TypeFilter;
use serde_json::{Value, json};
use tests::consumer::{Consumer, SOON, STREAM};
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::seraaj::{EventsFile, Service};

struct Platform {
    server: RedisServer,
    file: EventsFile,
    applications: Service,
    matching: Service,
    bff: Service,
}

impl Platform {
    async fn start() -> Self {
        let (server, file) = (RedisServer::start(), EventsFile::new());
        let (url, path) = (server.url(), file.path());
        let service = async |name| {
            let outbox = file.outbox(name);
            let settings = [("REDIS_OUTBOX_DIR", outbox.to_str().unwrap())];
            Service::start(name, &url, &path, &settings).await
        };
        let (applications, matching, bff) =
            tokio::join!(service("applications"), service("matching"), service("bff"));
        Self { server, file, applications, matching, bff }
    }

    /// A consumer for the group of each service, which calls `url`.
    async fn consumers(&self, url: &str, changes: &[(&str, &str)]) -> [Consumer; 3] {
        let consumers = ["applications", "matching", "bff"].map(|group| {
            let settings = [&[("EVENT_GROUP", group)], changes].concat();
            Consumer::start(&self.server, url, &settings)
        });
        for consumer in &consumers {
            consumer.ready().await;
        }
        consumers
    }

    /// Waits until the report is this one; on a busy machine Redis may be late for an earlier one.
    async fn reports(&self, expected: (Value, i32)) {
        self.reports_after(async || {}, expected).await;
    }

    /// As [`reports`](Self::reports), where this happens before each report.
    async fn reports_after(&self, event: impl AsyncFn(), expected: (Value, i32)) {
        let mut last = None;
        for _ in 0..3 {
            event().await;
            let report = self.report().await;
            if report == expected {
                return;
            }
            last = Some(report);
        }
        assert_eq!(last, Some(expected));
    }

    /// The report and how the program ended that made it.
    async fn report(&self) -> (Value, i32) {
        let (url, path) = (self.server.url(), self.file.path());
        let settings = [
            ("REDIS_URL", url.as_str()),
            ("REDIS_STREAM_NAME", STREAM),
            ("SERAAJ_EVENTS_FILE", path.to_str().unwrap()),
            ("RUST_LOG", "off"),
        ];
        let urls = [&self.applications, &self.matching, &self.bff].map(|service| service.url(""));
        let [applications, matching, bff] = urls.each_ref().map(String::as_str);
        let args = ["report", "--applications", applications, "--matching", matching, "--bff", bff];
        let mut program = Running::start("seraaj", &args, &settings);
        let status = program.ended(2 * SOON).await;
        let mut report: Value = serde_json::from_str(&program.output()).unwrap();
        let timestamp = report.as_object_mut().unwrap().remove("timestamp").unwrap();
        timestamp.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        report.as_object_mut().unwrap().remove("build");
        (report, status.code().unwrap())
    }
}

fn good() -> Value {
    json!({
        "redis_connected": true,
        "dual_publishing": true,
        "consumer_groups": {"applications": true, "matching": true, "bff": true},
        "health_endpoint": "/api/health/events",
        "e2e_test_passing": true,
    })
}

#[tokio::test]
async fn a_platform_that_is_well_is_told_to_be() {
    let platform = Platform::start().await;
    let _consumers = platform.consumers(&platform.applications.url("/events"), &[]).await;
    // As its resource declares the group: it wants a part of what the report looks for.
    let types = TypeFilter::parse(["application.submitted", "application.state.changed"]).unwrap();
    let declaration = json!({
        "v": 1, "cluster": "c", "namespace": "default", "name": "applications", "uid": "u",
        "generation": 1, "requestId": "", "types": types.patterns(),
    });
    let mut declare = redis::cmd("HSET");
    declare.arg(format!("{{{STREAM}}}:eventbus:groups")).arg("applications");
    declare.arg(declaration.to_string());
    declare.exec_async(&mut platform.server.connection().await).await.unwrap();
    platform.reports((good(), 0)).await;
}

#[tokio::test]
async fn a_redis_that_pauses_for_a_moment_is_waited_for() {
    let platform = Platform::start().await;
    let _consumers = platform.consumers(&platform.applications.url("/events"), &[]).await;
    let conn = platform.server.connection().await;
    let pause = async || {
        let mut pause = redis::cmd("CLIENT");
        pause.arg("PAUSE").arg(400).arg("WRITE").exec_async(&mut conn.clone()).await.unwrap();
    };
    platform.reports_after(pause, (good(), 0)).await;
}

#[tokio::test]
async fn a_handler_that_refuses_everything_is_no_platform_that_is_well() {
    let platform = Platform::start().await;
    let _consumers = platform.consumers(&platform.applications.url("/livez"), &[]).await;
    let mut expected = good();
    expected["consumer_groups"] = json!({"applications": false, "matching": false, "bff": false});
    expected["e2e_test_passing"] = json!(false);
    platform.reports((expected, 1)).await;
}

#[tokio::test]
async fn events_that_come_to_no_handler_are_no_end_to_end() {
    let platform = Platform::start().await;
    let changes = [("EVENT_TYPES", "nothing")];
    let _consumers = platform.consumers(&platform.applications.url("/events"), &changes).await;
    let mut expected = good();
    expected["e2e_test_passing"] = json!(false);
    platform.reports((expected, 1)).await;
}

#[tokio::test]
async fn what_is_missing_of_groups_file_and_redis_is_told() {
    let mut platform = Platform::start().await;
    let mut expected = good();
    expected["consumer_groups"] = json!({"applications": false, "matching": false, "bff": false});
    expected["health_endpoint"] = Value::Null;
    expected["e2e_test_passing"] = json!(false);
    platform.reports((expected.clone(), 1)).await;
    // The services go on with the file that they have opened, which is none that the report sees.
    platform.file = EventsFile::new();
    expected["dual_publishing"] = json!(false);
    platform.reports((expected.clone(), 1)).await;
    platform.server.stop();
    expected["redis_connected"] = json!(false);
    platform.reports((expected, 1)).await;
}
