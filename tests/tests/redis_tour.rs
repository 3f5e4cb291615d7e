//! The program on the first page of the library's documentation.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use serde_json::{Value, json};
use tests::consumer::SOON;
use tests::programs::Running;
use tests::redis::RedisServer;

async fn tour(server: &RedisServer) -> String {
    let url = server.url();
    let settings = [("REDIS_URL", url.as_str()), ("REDIS_STREAM_NAME", "s")];
    let mut program = Running::start("examples/tour", &[], &settings);
    assert!(program.ended(SOON).await.success(), "{}", program.output());
    program.output()
}

/// The JSON on the line that begins with `label`.
fn printed(output: &str, label: &str) -> Value {
    let line = output.lines().find_map(|line| line.strip_prefix(label)).expect(output);
    serde_json::from_str(line).expect(line)
}

#[tokio::test]
async fn the_tour_publishes_handles_settles_and_shows_three_events() {
    let server = RedisServer::start();
    let output = tour(&server).await;
    let count = |line: &str| output.lines().filter(|printed| printed.starts_with(line)).count();
    assert_eq!(count("group tour: created"), 1, "{output}");
    assert_eq!(count("published "), 3, "{output}");
    assert_eq!(count("handling application.created, attempt 1"), 1, "{output}");
    assert_eq!(count("handling application.submitted, attempt "), 2, "{output}");
    assert_eq!(count("handling user.login, attempt 1"), 1, "{output}");
    assert_eq!(count("the stream keeps "), 3, "{output}");
    assert_eq!(count("more events follow: false"), 1, "{output}");
    assert_eq!(printed(&output, "stream: ")["length"], 3);
    let group = printed(&output, "group: ");
    assert_eq!((&group["lag"], &group["pending"]), (&json!(0), &json!(0)));
    assert_eq!((&group["deadLetters"], &group["status"]), (&json!(1), &json!("ok")));
}

#[tokio::test]
async fn the_tour_can_be_taken_again() {
    let server = RedisServer::start();
    tour(&server).await;
    let output = tour(&server).await;
    assert!(output.contains("group tour: exists already"), "{output}");
    assert_eq!(printed(&output, "stream: ")["length"], 6);
}
