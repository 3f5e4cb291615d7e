//! The server restarts, dies, loses its data, loads, is full, or becomes a replica.

use std::time::Duration;

use tests::redis::RedisServer;
use tests::subscriber::{LONG, command};
use tests::wait;

use crate::flow::Flow;

const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

#[tokio::test]
async fn f19_a_primary_that_was_demoted_is_left_and_nothing_is_lost() {
    let server = RedisServer::start_with(&AOF);
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    // Of a primary that does not answer, so that it keeps its data.
    command(&mut conn, "REPLICAOF 127.0.0.1 1").await;
    let error = flow.try_publish().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    command(&mut conn, "REPLICAOF NO ONE").await;
    flow.publish(20).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f26_without_memory_a_publish_is_refused_by_name_and_consumers_drain() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    flow.publish(20).await;
    command(&mut conn, "CONFIG SET maxmemory 1").await;
    let error = flow.try_publish().await.unwrap_err();
    assert_eq!(error.code(), Some("OOM"));
    flow.all_are_handled().await;
    command(&mut conn, "CONFIG SET maxmemory 0").await;
    flow.publish(20).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f28_a_server_with_no_connection_left_says_so_and_is_waited_for() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    command(&mut conn, "CONFIG SET maxclients 1").await;
    command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
    let error = wait::until("it is refused", LONG, async || flow.try_publish().await.err()).await;
    let text = bus::error::chain(&error);
    assert!(text.contains("max number of clients"), "{text}");
    command(&mut conn, "CONFIG SET maxclients 100").await;
    flow.publish(20).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f48_while_redis_is_down_a_publish_fails_in_time_and_then_at_once() {
    let mut server = RedisServer::start_with(&AOF);
    let mut flow = Flow::start(server.config()).await;
    server.stop();
    let mut spans = Vec::new();
    for _ in 0..20 {
        let began = now();
        flow.try_publish().await.unwrap_err();
        spans.push(began.elapsed());
    }
    // A debug build on a busy machine: the limit is 250 ms, and an open breaker takes no time at all.
    assert!(spans.iter().all(|span| *span < Duration::from_secs(1)), "{spans:?}");
    let quick = spans.iter().filter(|span| **span < Duration::from_millis(20)).count();
    assert!(quick >= 10, "{spans:?}");
    server.restart();
    flow.publish(5).await;
    flow.all_are_handled().await;
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
