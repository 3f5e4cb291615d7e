//! The server restarts, dies, loses its data, loads, is full, or becomes a replica.

use std::time::Duration;

use tests::redis::RedisServer;
use tests::subscriber::{LONG, command};
use tests::wait;

use crate::flow::Flow;

const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

#[tokio::test]
async fn f10_a_restart_of_redis_loses_nothing() {
    let mut server = RedisServer::start_with(&AOF);
    let mut flow = Flow::start(server.config()).await;
    flow.publish(20).await;
    let mut conn = server.connection().await;
    // It answers by going away.
    let _: Result<(), _> = redis::cmd("SHUTDOWN").exec_async(&mut conn).await;
    server.restart();
    flow.publish(20).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f11_a_crash_of_redis_with_an_append_only_file_loses_nothing() {
    let mut server = RedisServer::start_with(&AOF);
    let mut flow = Flow::start(server.config()).await;
    flow.publish(20).await;
    server.stop();
    assert!(flow.try_publish().await.unwrap_err().is_transient());
    server.restart();
    flow.publish(20).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f13_a_redis_that_comes_back_empty_gets_its_group_again() {
    let mut server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    server.stop();
    server.restart();
    flow.publish(20).await;
    flow.all_are_handled().await;
}

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

#[tokio::test(flavor = "multi_thread")]
async fn f25_a_redis_that_is_loading_is_waited_for() {
    let options = ["--appendonly", "yes", "--key-load-delay", "2000"];
    let mut server = RedisServer::start_with(&options);
    let mut conn = server.connection().await;
    let mut flow = Flow::start(server.config()).await;
    // As many keys as take two seconds.
    let fill = "for i = 1, 1000 do redis.call('SET', 'k' .. i, 'x') end";
    redis::cmd("EVAL").arg(fill).arg(0).exec_async(&mut conn).await.unwrap();
    redis::cmd("BGREWRITEAOF").exec_async(&mut conn).await.unwrap();
    wait::until("the file is rewritten", LONG, async || {
        let mut info = redis::cmd("INFO");
        let info: String = info.arg("persistence").query_async(&mut conn.clone()).await.ok()?;
        let done =
            info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0");
        done.then_some(())
    })
    .await;
    tokio::task::block_in_place(|| server.restart());
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
