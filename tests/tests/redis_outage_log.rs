//! Log lines of a program about outages: each cause at once, and none with every attempt.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeSet;

use tests::consumer::{Consumer, SOON};
use tests::handler::Handler;
use tests::redis::RedisServer;
use tests::subscriber::command;
use tests::wait;

/// Waits until `consumer` has logged `text` so often.
async fn logs(consumer: &Consumer, text: &str, times: usize) {
    wait::until(text, SOON, async || (logged(consumer, text) >= times).then_some(())).await;
}

/// Number of log lines with `text`.
fn logged(consumer: &Consumer, text: &str) -> usize {
    consumer.output().lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn each_cause_of_an_outage_is_logged_once_by_a_program() {
    let writer = ["--user", "writer", "on", ">first", "~*", "&*", "+@all"];
    let (mut server, handler) = (RedisServer::start_with(&writer), Handler::start());
    let dir = tempfile::tempdir().unwrap();
    let [user, password] = ["user", "password"].map(|name| dir.path().join(name));
    std::fs::write(&user, "writer").unwrap();
    std::fs::write(&password, "first").unwrap();
    let files = [
        ("REDIS_USERNAME_FILE", user.to_str().unwrap()),
        ("REDIS_PASSWORD_FILE", password.to_str().unwrap()),
    ];
    let consumer = Consumer::start(&server, &handler.url(), &files);
    consumer.ready().await;

    server.stop();
    logs(&consumer, "Connection refused", 1).await;
    server.restart();
    let mut conn = server.connection().await;
    command(&mut conn, "CONFIG SET maxclients 1").await;
    command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
    logs(&consumer, "max number of clients", 1).await;
    command(&mut conn, "CONFIG SET maxclients 100").await;
    logs(&consumer, "connected to Redis again", 1).await;
    command(&mut conn, "ACL SETUSER writer resetpass >second").await;
    command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
    logs(&consumer, "WRONGPASS", 1).await;
    std::fs::write(&password, "second").unwrap();
    logs(&consumer, "connected to Redis again", 2).await;

    let causes = ["Connection refused", "max number of clients", "WRONGPASS"];
    let output = consumer.output();
    assert_eq!(causes.map(|cause| logged(&consumer, cause)), [1, 1, 1], "{output}");
    // Beside these, a connection that breaks is a cause for each operation that was under way, and so is one that is late.
    let failures = output.lines().filter(|line| {
        line.contains("to Redis; retrying") || line.contains("reconnecting to Redis")
    });
    let all: Vec<_> = failures.filter_map(|line| line.split_once("error=")).collect();
    let once: BTreeSet<_> = all.iter().map(|(_, cause)| cause).collect();
    assert!(all.len() >= causes.len() && once.len() == all.len(), "{output}");
    assert!(!output.contains("first") && !output.contains("second"), "{output}");
}
