//! Redis restarts, crashes, reads its data for a while, or comes back without it.

use std::collections::BTreeSet;

use eventbus::admin::Connection;
use tests::raw::Raw;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, config, drained};
use tests::{letters, wait};

use crate::fleet::{Fleet, Health};
use crate::flow::{Flow, proxy_to};

const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];
/// And small batches, so that no consumer takes all.
const FOUR_WORKERS: [(&str, &str); 2] =
    [("DELIVERY_CONCURRENCY", "4"), ("DELIVERY_BATCH_SIZE", "4")];
/// What two consumers with four workers each have in hand.
const IN_FLIGHT: usize = 8;

#[tokio::test]
async fn f10_a_restart_of_redis_loses_nothing_and_repeats_no_more_than_was_in_hand() {
    in_flight_during(async |server| {
        server.terminate();
        server.restart();
    })
    .await;
}

#[tokio::test]
async fn f11_a_crash_of_redis_with_an_append_only_file_loses_nothing_that_was_written_to_it() {
    in_flight_during(async |server| {
        written(&mut server.connection().await).await;
        server.stop();
        server.restart();
    })
    .await;
}

#[tokio::test]
async fn f10_consumer_processes_outlive_a_restart_while_events_are_published() {
    published_over(|server| server.terminate()).await;
}

#[tokio::test]
async fn f11_consumer_processes_outlive_a_crash_while_events_are_published() {
    published_over(RedisServer::stop).await;
}

#[tokio::test]
async fn f13_a_redis_that_comes_back_empty_gets_its_group_again_from_consumer_processes() {
    let mut server = RedisServer::start();
    let proxy = proxy_to(&server).await;
    let url = format!("redis://{}", proxy.address());
    let mut fleet = Fleet::start(&server, 2, &[("REDIS_URL", &url)]).await;
    let health = Health::start(&server);
    health.reports("/consumer_groups/g/status", "ok").await;

    // Only so is there a moment in which the group is seen to be missing.
    proxy.fall_silent();
    server.terminate();
    server.begin_restart();
    server.ready().await;
    health.reports("/consumer_groups/g/status", "not_created").await;
    fleet.flow.publish(20).await;
    proxy.cut();
    proxy.resume();

    fleet.flow.publish(20).await;
    fleet.all_are_handled().await;
    health.reports("/consumer_groups/g/status", "ok").await;
    drained(&mut server.connection().await).await;
}

#[tokio::test]
async fn f25_while_redis_loads_all_wait_and_health_says_so() {
    // A minute in all, unless it is ended, with an ear for commands after each key or two.
    let slowly = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"];
    let options = [&AOF[..], &["--rdbcompression", "no"], &slowly].concat();
    let mut server = RedisServer::start_with(&options);
    let mut fleet = Fleet::start(&server, 1, &[]).await;
    let health = Health::start(&server);
    health.reports("/consumer_groups/g/status", "ok").await;
    let mut conn = server.connection().await;
    let fill = "for i = 1, 3000 do redis.call('SET', 'k' .. i, ('x'):rep(1024)) end";
    redis::cmd("EVAL").arg(fill).arg(0).exec_async(&mut conn).await.unwrap();
    redis::cmd("BGREWRITEAOF").exec_async(&mut conn).await.unwrap();
    wait::until("the file is rewritten", LONG, async || {
        let info = persistence(&mut conn).await;
        let done = ["aof_rewrite_in_progress:0\r\n", "aof_rewrite_scheduled:0\r\n"];
        done.iter().all(|line| info.contains(line)).then_some(())
    })
    .await;

    server.terminate();
    server.begin_restart();
    // Side by side: a breaker that opened before Redis listened lets a publish through once a second.
    let publish = wait::until("a publish tells that Redis is loading", LONG, async || {
        let error = fleet.flow.try_publish().await.unwrap_err();
        (error.code() == Some("LOADING")).then_some(error)
    });
    let reports = health.reports("/error", "Redis is loading its data");
    let (error, ()) = tokio::join!(publish, reports);
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(fleet.consumers[0].get("/livez").await.0, 200);

    // A connection of the library would wait for the server to have loaded.
    Raw::connect(server.port()).run(&["CONFIG", "SET", "key-load-delay", "0"]);
    server.ready().await;
    fleet.flow.publish(20).await;
    fleet.all_are_handled().await;
    drained(&mut server.connection().await).await;
    let output = fleet.consumers[0].output();
    let failures = output.lines().filter(|line| {
        line.contains("to Redis; retrying") || line.contains("reconnecting to Redis")
    });
    let causes = failures.filter_map(|line| line.split_once("error=")).map(|(_, cause)| cause);
    let causes: Vec<_> = causes.collect();
    let once: BTreeSet<_> = causes.iter().collect();
    assert!(!causes.is_empty() && once.len() == causes.len(), "{output}");
}

/// Eight of twenty events are in hand while `fault` happens.
async fn in_flight_during(fault: impl AsyncFnOnce(&mut RedisServer)) {
    let mut server = RedisServer::start_with(&AOF);
    let mut flow = Flow::start_with(server.config(), config()).await;
    flow.hold();
    flow.publish(20).await;
    flow.are_in_flight(IN_FLIGHT).await;
    fault(&mut server).await;
    let mut conn = server.connection().await;
    let length: usize = redis::cmd("XLEN").arg("s").query_async(&mut conn).await.unwrap();
    assert!(length >= 20, "{length} entries are left");
    flow.release();
    flow.all_are_handled().await;
    drained(&mut conn).await;
    assert!(flow.repeats() as usize <= IN_FLIGHT, "{} repeats", flow.repeats());
    assert_eq!(letters::all(&mut conn).await, []);
}

/// As [`in_flight_during`], with processes, and with a publisher that goes on while `fault` happens and after it.
async fn published_over(fault: impl FnOnce(&mut RedisServer)) {
    let mut server = RedisServer::start_with(&AOF);
    let mut fleet = Fleet::start(&server, 2, &FOUR_WORKERS).await;
    fleet.handler.hold();
    fleet.flow.publish(20).await;
    // With the first one, which was handled before.
    fleet.handler.received(1 + IN_FLIGHT).await;
    written(&mut server.connection().await).await;
    let restart = async {
        fault(&mut server);
        server.begin_restart();
        server.ready().await;
    };
    tokio::join!(fleet.flow.publish(40), restart);
    fleet.handler.release();
    fleet.all_are_handled().await;
    let mut conn = server.connection().await;
    drained(&mut conn).await;
    let length: usize = redis::cmd("XLEN").arg("s").query_async(&mut conn).await.unwrap();
    // The reply to a publish that was tried again may have been lost, and the event is there twice.
    let twice =
        length.checked_sub(fleet.flow.confirmed.len()).expect("all that was confirmed is kept");
    assert!(fleet.repeats() <= IN_FLIGHT + twice, "{} repeats", fleet.repeats());
    assert_eq!(letters::all(&mut conn).await, []);
}

/// Waits until the server has handed to the system, which a crash of the server does not touch, all that it confirmed.
async fn written(conn: &mut Connection) {
    wait::until("the append-only file is written and flushed", LONG, async || {
        let info = persistence(conn).await;
        let idle = ["aof_buffer_length:0\r\n", "aof_pending_bio_fsync:0\r\n"];
        idle.iter().all(|line| info.contains(line)).then_some(())
    })
    .await;
}

async fn persistence(conn: &mut Connection) -> String {
    redis::cmd("INFO").arg("persistence").query_async(conn).await.unwrap()
}
