//! The library's subscriber on a real server: nothing is lost, whatever vanishes.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eventbus::config::{CredentialFiles, RedisConfig};
use eventbus::{Answer, Delivery};
use tests::letters;
use tests::proxy::TcpProxy;
use tests::redis::RedisServer;
use tests::subscriber::{
    LONG, Running, command, config, done_when, drained, heartbeats, pending, xadd,
};
use tests::wait;
use tokio::sync::Semaphore;

async fn done(_: Arc<Delivery>) -> Answer {
    Answer::Done
}

fn no() -> Answer {
    Answer::Retry { after: None, reason: "no".to_owned() }
}

#[tokio::test]
async fn every_event_is_handled_once_and_acknowledged() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for n in 0..500 {
        xadd(&mut conn, &n.to_string()).await;
    }
    let running = Running::start(server.config(), config(), done);
    drained(&mut conn).await;
    let times = running.seen.times();
    assert_eq!((times.len(), times.values().sum::<usize>()), (500, 500));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_is_pending_until_its_handler_is_done() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let gate = Arc::new(Semaphore::new(0));
    let running = Running::start(server.config(), config(), done_when(&gate));
    wait::until("the handler has it", LONG, async || running.seen.all().pop()).await;
    assert_eq!(pending(&mut conn).await, 1);
    gate.add_permits(1);
    drained(&mut conn).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_failing_event_comes_again_with_its_attempt_counted_while_others_flow() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for payload in [r#""bad""#, "1", "2"] {
        xadd(&mut conn, payload).await;
    }
    let running = Running::start(server.config(), config(), async |delivery| {
        let bad = delivery.event.payload().as_str() == r#""bad""#;
        if bad && delivery.attempt < 3 { no() } else { Answer::Done }
    });
    drained(&mut conn).await;
    let bad = running.seen.all().into_iter().filter(|(payload, _)| payload == r#""bad""#);
    assert_eq!(bad.map(|(_, attempt)| attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(running.seen.times()["1"], 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_panic_and_a_handler_that_hangs_are_failed_attempts() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for payload in [r#""panic""#, r#""hang""#] {
        xadd(&mut conn, payload).await;
    }
    let mut config = config();
    config.delivery.timeout = Duration::from_millis(100);
    let running = Running::start(server.config(), config, async |delivery| {
        match (delivery.attempt, delivery.event.payload().as_str()) {
            (1, r#""panic""#) => panic!("the handler's own fault"),
            (1, _) => std::future::pending().await,
            _ => Answer::Done,
        }
    });
    drained(&mut conn).await;
    assert_eq!(running.seen.all().len(), 4);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_as_an_event_is_dead_lettered_with_its_raw_fields_and_others_flow() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let odd: [&[(&str, &[u8])]; 3] = [
        &[("payload", b"{}"), ("x", b"no type")],
        &[("type", b"t"), ("payload", b"{broken")],
        &[("type", b"t"), ("payload", b"\"\xff\"")],
    ];
    for fields in odd {
        let add = redis::cmd("XADD").arg("s").arg("*").arg(fields).exec_async(&mut conn).await;
        add.unwrap();
    }
    xadd(&mut conn, "1").await;
    let running = Running::start(server.config(), config(), done);
    drained(&mut conn).await;
    assert_eq!(running.seen.all(), [("1".to_owned(), 1)]);
    let dead = letters::fields(&mut conn).await;
    let payloads: Vec<&[u8]> = dead.iter().map(|fields| fields["payload"].as_slice()).collect();
    assert_eq!(payloads, [b"{}".as_slice(), b"{broken", b"\"\xff\""]);
    assert_eq!(dead[0]["x"], b"no type");
    assert_eq!(dead[0]["dlq.reason"], b"unreadable");
    assert_eq!(dead[0]["dlq.error"], br#"the entry has no field "type""#);
    assert_eq!(dead[0]["dlq.group"], b"g");
    assert_eq!(dead[0]["dlq.attempts"], b"0");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_that_the_handler_calls_dead_is_dead_lettered_with_the_reason() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let id = xadd(&mut conn, "1").await;
    let running = Running::start(server.config(), config(), async |_| Answer::Dead {
        reason: "status 422".to_owned(),
    });
    drained(&mut conn).await;
    let dead = letters::fields(&mut conn).await;
    assert_eq!(dead[0]["dlq.id"], id.as_bytes());
    assert_eq!(dead[0]["dlq.reason"], b"rejected");
    assert_eq!(dead[0]["dlq.error"], b"status 422");
    assert_eq!(dead[0]["dlq.attempts"], b"1");
    assert_eq!(running.seen.all().len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn while_dead_letters_are_refused_the_event_waits_and_goes_there_afterwards() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "SET {s}:dlq:g x").await;
    redis::cmd("XADD").arg("s").arg("*").arg(&[("x", "y")]).exec_async(&mut conn).await.unwrap();
    xadd(&mut conn, "1").await;
    let running = Running::start(server.config(), config(), done);
    wait::until("the other event is handled and acknowledged", LONG, async || {
        let is_handled = running.seen.times().contains_key("1");
        (is_handled && pending(&mut conn.clone()).await == 1).then_some(())
    })
    .await;
    command(&mut conn, "DEL {s}:dlq:g").await;
    drained(&mut conn).await;
    assert_eq!(letters::fields(&mut conn).await.len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn while_its_dead_letter_is_refused_an_event_is_not_handled_again() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "SET {s}:dlq:g x").await;
    xadd(&mut conn, "1").await;
    let running = Running::start(server.config(), config(), async |_| Answer::dead("422"));
    // Parked, it grows idle until it is due; refused again, it is delayed anew.
    let mut refused = 0;
    let mut idle_before = 0;
    wait::until("it was refused three times", LONG, async || {
        let mut query = redis::cmd("XPENDING");
        let query = query.arg("s").arg("g").arg("-").arg("+").arg(1).arg("eventbus:delayed");
        let reply: Vec<(String, String, u64, u64)> =
            query.query_async(&mut conn.clone()).await.ok()?;
        let idle = reply.first()?.2;
        refused += u32::from(idle < idle_before || idle_before == 0);
        idle_before = idle;
        (refused == 3).then_some(())
    })
    .await;
    command(&mut conn, "DEL {s}:dlq:g").await;
    drained(&mut conn).await;
    assert_eq!(running.seen.all(), [("1".to_owned(), 1)]);
    assert_eq!(letters::fields(&mut conn).await.len(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_entry_of_ten_thousand_fields_is_dead_lettered_in_one_raw_field() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let fields: Vec<(String, String)> =
        (0..10_000).map(|n| (n.to_string(), String::new())).collect();
    redis::cmd("XADD").arg("s").arg("*").arg(&fields).exec_async(&mut conn).await.unwrap();
    let running = Running::start(server.config(), config(), done);
    drained(&mut conn).await;
    let dead = letters::fields(&mut conn).await;
    // MessagePack: an array of 20,000 (0xdc, two bytes), then "0" (0xa1 '0') and "" (0xa0).
    assert_eq!(dead[0]["dlq.raw"][..6], [0xdc, 0x4e, 0x20, 0xa1, b'0', 0xa0]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_crashed_consumer_held_is_taken_over_and_handled_alone() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for n in 0..6 {
        xadd(&mut conn, &n.to_string()).await;
    }
    let crashed = Running::start(server.config(), config(), |_| std::future::pending());
    wait::until("four are in its workers' hands", LONG, async || {
        (crashed.seen.all().len() == 4).then_some(())
    })
    .await;
    drop(crashed);
    let running = Running::start(server.config(), config(), done);
    drained(&mut conn).await;
    let seen = running.seen.all();
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|(_, attempt)| *attempt == 2), "{seen:?}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_suspect_that_is_not_due_keeps_nobody_from_reading() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let id = xadd(&mut conn, "0").await;
    command(&mut conn, "XGROUP CREATE s g 0").await;
    command(&mut conn, "XREADGROUP GROUP g gone STREAMS s >").await;
    command(&mut conn, &format!("XCLAIM s g eventbus:suspect 0 {id} IDLE 0 JUSTID")).await;
    xadd(&mut conn, r#""slow""#).await;
    let mut config = config();
    config.delivery.timeout = 4 * LONG;
    let running = Running::start(server.config(), config, async |delivery| {
        if delivery.event.payload().as_str() == r#""slow""# {
            std::future::pending::<()>().await;
        }
        Answer::Done
    });
    wait::until("the slow one runs", LONG, async || running.seen.all().pop()).await;
    // Each of them tells of the suspect.
    heartbeats(&mut conn, 1, 2, LONG).await;
    xadd(&mut conn, "1").await;
    wait::until("the next is read", LONG, async || running.seen.times().get("1").copied()).await;
}

#[tokio::test]
async fn a_slow_handler_keeps_its_event_for_many_leases() {
    const LEASE: Duration = Duration::from_secs(2);
    // A busy machine may let a lease end, but not each time.
    wait::until("heartbeats come in time", 3 * LONG, async || {
        let server = RedisServer::start();
        let mut conn = server.connection().await;
        xadd(&mut conn, "1").await;
        let mut config = config();
        config.delivery.lease = LEASE;
        let gate = Arc::new(Semaphore::new(0));
        let slow = Running::start(server.config(), config.clone(), done_when(&gate));
        wait::until("the slow one has it", LONG, async || slow.seen.all().pop()).await;
        let other = Running::start(server.config(), config, done);
        wait::until("the other one is there", LONG, async || {
            other.readiness.has_connected().then_some(())
        })
        .await;
        // Three at least in each lease.
        let in_time = heartbeats(&mut conn, 2, 9, LEASE).await;
        gate.add_permits(9);
        drained(&mut conn).await;
        let seen = (slow.seen.all().len(), other.seen.all().len());
        slow.stop().await.unwrap();
        other.stop().await.unwrap();
        if !in_time {
            return None;
        }
        assert_eq!(seen, (1, 0));
        Some(())
    })
    .await;
}

#[tokio::test]
async fn stopping_finishes_what_runs_and_hands_back_the_rest_at_once() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for n in 0..6 {
        xadd(&mut conn, &n.to_string()).await;
    }
    let gate = Arc::new(Semaphore::new(0));
    let first = Running::start(server.config(), config(), done_when(&gate));
    wait::until("four run", LONG, async || (first.seen.all().len() == 4).then_some(())).await;
    first.cancel();
    // The two that no worker had begun go to another consumer while the four still run.
    let second = Running::start(server.config(), config(), done);
    wait::until("two are handed over", LONG, async || (second.seen.all().len() == 2).then_some(()))
        .await;
    gate.add_permits(4);
    let seen = first.seen.clone();
    first.stop().await.unwrap();
    drained(&mut conn).await;
    assert_eq!(seen.all().len(), 4);
    assert!(second.seen.all().iter().all(|(_, attempt)| *attempt == 1));
    second.stop().await.unwrap();
    let names: Vec<BTreeMap<String, redis::Value>> = redis::cmd("XINFO")
        .arg("CONSUMERS")
        .arg("s")
        .arg("g")
        .query_async(&mut conn)
        .await
        .unwrap();
    let names: Vec<String> = names
        .into_iter()
        .map(|consumer| redis::from_redis_value(consumer["name"].clone()).unwrap())
        .collect();
    assert!(names.iter().all(|name| name.starts_with("eventbus:")), "all have left: {names:?}");
}

#[tokio::test]
async fn redis_may_go_away_and_come_back_without_a_loss() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut conn = server.connection().await;
    for n in 0..50 {
        xadd(&mut conn, &n.to_string()).await;
    }
    let running = Running::start(server.config(), config(), async |_| {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Answer::Done
    });
    wait::until("some are handled", LONG, async || (running.seen.all().len() > 8).then_some(()))
        .await;
    server.restart();
    let mut conn = server.connection().await;
    for n in 50..60 {
        xadd(&mut conn, &n.to_string()).await;
    }
    drained(&mut conn).await;
    assert_eq!(running.seen.times().len(), 60);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_hangs_delays_events_and_loses_none() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let proxy = TcpProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    let url = format!("redis://{}", proxy.address());
    let redis = RedisConfig::new("url", &url, CredentialFiles::default()).unwrap();
    let running = Running::start(redis, config(), done);
    xadd(&mut conn, "1").await;
    drained(&mut conn).await;
    let before = proxy.accepted();
    server.pause();
    wait::until("it gives its connections up, and new ones too", LONG, async || {
        (proxy.accepted() >= before + 3).then_some(())
    })
    .await;
    server.resume();
    let mut conn = server.connection().await;
    xadd(&mut conn, "2").await;
    drained(&mut conn).await;
    assert_eq!(running.seen.times().len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_not_stormed_with_connections() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let running = Running::start(server.config(), config(), done);
    xadd(&mut conn, "1").await;
    drained(&mut conn).await;
    command(&mut conn, "CONFIG RESETSTAT").await;
    command(&mut conn, "CONFIG SET min-replicas-to-write 3").await;
    let began = now();
    wait::until("it connects again and again", LONG, async || {
        (connections(&mut conn).await >= 16).then_some(())
    })
    .await;
    // Two for each try: seconds on the average, and hardly ever so short by chance; without waits it takes milliseconds.
    let took = now() - began;
    assert!(took > Duration::from_millis(150), "16 connections within {took:?}");
    command(&mut conn, "CONFIG SET min-replicas-to-write 0").await;
    xadd(&mut conn, "2").await;
    drained(&mut conn).await;
    assert_eq!(running.seen.times().len(), 2);
    running.stop().await.unwrap();
}

#[expect(clippy::disallowed_methods, reason = "time is what is tested")]
fn now() -> Instant {
    Instant::now()
}

/// Connections that the server has taken so far.
async fn connections(conn: &mut eventbus::admin::Connection) -> u32 {
    let stats: String = redis::cmd("INFO").arg("stats").query_async(conn).await.unwrap();
    let connections = stats.lines().find_map(|l| l.strip_prefix("total_connections_received:"));
    connections.unwrap().trim().parse().unwrap()
}

/// Waits until somebody was told so many times that the group is missing.
async fn missed(conn: &mut eventbus::admin::Connection, times: u32) {
    wait::until("the group is missed", LONG, async || {
        let mut info = redis::cmd("INFO");
        let info: String = info.arg("errorstats").query_async(&mut conn.clone()).await.ok()?;
        let line = info.lines().find_map(|l| l.strip_prefix("errorstat_NOGROUP:count="))?;
        (line.parse::<u32>().ok()? >= times).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_start_a_consumer_waits_for_the_group_and_reads_it_once_it_is_there() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let mut config = config();
    config.start = None;
    let running = Running::start(server.config(), config, done);
    missed(&mut conn, 2).await;
    assert!(!running.readiness.has_connected());
    command(&mut conn, "XGROUP CREATE s g 0").await;
    drained(&mut conn).await;
    assert!(running.readiness.has_connected());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_consumer_survives_the_loss_of_its_group_and_reads_it_when_it_is_there_again() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let mut config = config();
    config.start = None;
    command(&mut conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    let running = Running::start(server.config(), config, done);
    xadd(&mut conn, "1").await;
    drained(&mut conn).await;
    command(&mut conn, "FLUSHALL").await;
    xadd(&mut conn, "2").await;
    missed(&mut conn, 1).await;
    command(&mut conn, "XGROUP CREATE s g 0").await;
    drained(&mut conn).await;
    assert_eq!(running.seen.times().len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn unwanted_types_are_acknowledged_unseen() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let mut config = config();
    config.types = eventbus::TypeFilter::parse(["application.*"]).unwrap();
    let running = Running::start(server.config(), config, done);
    drained(&mut conn).await;
    assert_eq!(running.seen.all(), []);
    running.stop().await.unwrap();
}
