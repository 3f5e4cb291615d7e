//! The example programs with the consumer between them, each a process of its own.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::HashSet;

use redis::streams::StreamRangeReply;
use serde_json::Value;
use tests::consumer::{Consumer, SOON, settled};
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::wait;

struct Notifier {
    program: Running,
    client: reqwest::Client,
    address: String,
}

impl Notifier {
    async fn start() -> Self {
        let program = Running::start("notifier", &[], &[("LISTEN", "127.0.0.1:0")]);
        let address = wait::until("the notifier tells its address", SOON, async || {
            let output = program.output();
            let (line, _) = output.split_once('\n')?;
            line.strip_prefix("listening on ").map(str::to_owned)
        })
        .await;
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder().no_proxy().timeout(SOON).build();
        Self { program, client: client.expect("a client can be made"), address }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn received(&self) -> Value {
        let response = self.client.get(self.url("/received")).send().await;
        response.expect("the notifier answers").json().await.expect("it answers with JSON")
    }

    async fn fail(&self, status: u16) {
        let response = self.client.post(self.url(&format!("/fail/{status}"))).send().await;
        assert_eq!(response.expect("the notifier answers").status().as_u16(), 200);
    }
}

async fn publish(server: &RedisServer, args: &[&str]) -> String {
    let settings = [("REDIS_URL", server.url()), ("REDIS_STREAM_NAME", "s".to_owned())];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut program = Running::start("publish", args, &settings);
    assert!(program.ended(SOON).await.success(), "{}", program.output());
    program.output()
}

#[tokio::test]
async fn what_the_publisher_publishes_the_notifier_receives() {
    let (server, notifier) = (RedisServer::start(), Notifier::start().await);
    let _consumer = Consumer::start(&server, &notifier.url("/events"), &[]);

    let output = publish(&server, &["--count", "40", "--rate", "2000"]).await;
    publish(&server, &["--count", "2", "--type", "user.login", "--source", "bff"]).await;
    settled(&mut server.connection().await).await;

    let received = notifier.received().await;
    assert_eq!(output, "published 40 of application.submitted to s\n");
    // An event that Redis did not confirm in time on a busy machine comes again under its ID.
    let count = |value: &Value| value.as_u64().unwrap();
    assert!(count(&received["types"]["application.submitted"]) >= 40, "{received}");
    assert!(count(&received["types"]["user.login"]) >= 2, "{received}");
    let ids: HashSet<&str> =
        received["event_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(ids.len(), 42);
    let output = notifier.program.output();
    let lines = output.lines().filter(|line| {
        line.rsplit_once(' ').is_some_and(|(event_type, id)| {
            ["application.submitted", "user.login"].contains(&event_type) && ids.contains(id)
        })
    });
    assert_eq!(lines.count() as u64, count(&received["count"]), "{output}");
}

#[tokio::test]
async fn the_notifier_fails_when_told_to_and_gets_the_event_again() {
    let (server, notifier) = (RedisServer::start(), Notifier::start().await);
    let _consumer = Consumer::start(&server, &notifier.url("/events"), &[]);
    notifier.fail(503).await;
    publish(&server, &["--count", "1"]).await;
    wait::until("it has refused the event twice", SOON, async || {
        (notifier.received().await["refused"].as_u64()? >= 2).then_some(())
    })
    .await;
    assert_eq!(notifier.received().await["count"], 0);

    notifier.fail(200).await;
    settled(&mut server.connection().await).await;
    let received = notifier.received().await;
    assert_eq!(received["event_ids"].as_array().unwrap().len(), 1, "{received}");
}

#[tokio::test]
async fn the_notifier_ends_when_it_is_told_to() {
    let mut notifier = Notifier::start().await;
    notifier.program.terminate();
    assert!(notifier.program.ended(SOON).await.success());
}

#[tokio::test]
async fn the_publisher_outlasts_a_redis_that_hangs_and_repeats_events_under_their_ids() {
    let server = RedisServer::start();
    let url = server.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_STREAM_NAME", "s"),
        // Each try that fails is a line then.
        ("RUST_LOG", "publish=debug"),
    ];
    let mut program = Running::start("publish", &["--count", "100", "--rate", "100"], &settings);
    let mut connection = server.connection().await;
    wait::until("it has begun", SOON, async || {
        let length: u64 = redis::cmd("XLEN").arg("s").query_async(&mut connection).await.ok()?;
        (length > 0).then_some(())
    })
    .await;
    server.pause();
    wait::until("it tries an event again", SOON, async || {
        program.output().contains("cannot publish an event").then_some(())
    })
    .await;
    server.resume();

    assert!(program.ended(SOON).await.success(), "{}", program.output());

    let entries: StreamRangeReply =
        redis::cmd("XRANGE").arg("s").arg("-").arg("+").query_async(&mut connection).await.unwrap();
    let ids: HashSet<String> =
        entries.ids.iter().map(|entry| entry.get("id").expect("each has an ID")).collect();
    assert_eq!(ids.len(), 100);
}

#[tokio::test]
async fn the_publisher_says_that_redis_is_not_there() {
    let settings = [("REDIS_URL", "redis://127.0.0.1:1")];
    let mut program = Running::start("publish", &["--count", "1"], &settings);

    assert_eq!(program.ended(SOON).await.code(), Some(1));

    let output = program.output();
    assert!(output.contains("cannot connect to Redis at 127.0.0.1:1/0"), "{output}");
}
