//! Replies that are too large for a server, a proxy or the line: a consumer asks for fewer entries.

use std::collections::BTreeSet;
use std::time::Duration;

use eventbus::Answer;
use eventbus::admin::Connection;
use eventbus::config::{CredentialFiles, RedisConfig};
use eventbus::consume::{DeliveryOrder, SubscriberConfig};
use eventbus::observe::{GroupRequest, snapshot};
use tests::consumer::{Consumer, publish, settled};
use tests::handler::Handler;
use tests::proxy::{LargeReplies, TcpProxy};
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, config, drained, pending, xadd};
use tests::wait;

const MIB: usize = 1024 * 1024;

/// JSON text of so many bytes, different for each number.
fn payload(number: usize, bytes: usize) -> String {
    let number = number.to_string();
    format!("\"{number}{}\"", "x".repeat(bytes - 2 - number.len()))
}

async fn limit_output(conn: &mut Connection, limit: &str) {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("client-output-buffer-limit").arg(limit);
    set.query_async::<()>(conn).await.expect("the limit is right");
}

async fn proxy_to(server: &RedisServer) -> TcpProxy {
    TcpProxy::start(([127, 0, 0, 1], server.port()).into()).await
}

fn redis_at(address: std::net::SocketAddr) -> RedisConfig {
    RedisConfig::new("REDIS_URL", &format!("redis://{address}"), CredentialFiles::default())
        .expect("the URL is right")
}

/// Publishes events, subscribes, and waits until each is handled; none may have taken more than one attempt.
async fn all_are_handled(
    conn: &mut Connection,
    redis: RedisConfig,
    config: SubscriberConfig,
    events: &[String],
) {
    for event in events {
        xadd(conn, event).await;
    }
    let running = Running::start(redis, config, async |_| Answer::Done);
    let all = events.iter().cloned().collect::<BTreeSet<_>>();
    wait::until("all events are handled", LONG, async || {
        let seen: BTreeSet<_> = running.seen.times().into_keys().collect();
        (seen == all).then_some(())
    })
    .await;
    drained(conn).await;
    assert!(running.seen.all().iter().all(|(_, attempt)| *attempt == 1));
    running.stop().await.unwrap();
}

fn large_events(number: usize, bytes: usize) -> Vec<String> {
    (0..number).map(|number| payload(number, bytes)).collect()
}

#[tokio::test]
async fn case_02_sixteen_events_of_1_mb_pass_an_output_limit_of_4_mb_with_the_defaults() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    let bodies = large_events(16, 1_000_000);
    for body in &bodies {
        publish(&mut conn, "t", body).await;
    }
    limit_output(&mut conn, "normal 4mb 0 0").await;
    let defaults = [
        ("DELIVERY_LEASE", "30s"),
        ("DELIVERY_BACKOFF_INITIAL", "1s"),
        ("DELIVERY_BACKOFF_MAX", "5m"),
    ];
    let _consumer = Consumer::start(&server, &handler.url(), &defaults);
    settled(&mut conn).await;
    let received: BTreeSet<String> = handler
        .requests()
        .into_iter()
        .map(|request| String::from_utf8(request.body.into()).unwrap())
        .collect();
    assert_eq!(received.len(), 16);
    assert!(received == bodies.into_iter().collect());
}

#[tokio::test]
async fn case_02_a_server_that_evicts_large_clients_is_asked_for_fewer_entries() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "CONFIG SET maxmemory-clients 3mb").await;
    let events = large_events(8, MIB);
    all_are_handled(&mut conn, server.config(), config(), &events).await;
}

#[tokio::test]
async fn case_02_a_proxy_that_cuts_or_refuses_large_replies_is_asked_for_fewer_entries() {
    for large in [LargeReplies::Cut(MIB), LargeReplies::Refused(MIB)] {
        let server = RedisServer::start();
        let mut conn = server.connection().await;
        let proxy = proxy_to(&server).await;
        proxy.limit_replies(large);
        let events = large_events(16, 200_000);
        let mut config = config();
        (config.delivery.batch_size, config.delivery.concurrency) = (16, 8);
        all_are_handled(&mut conn, redis_at(proxy.address()), config, &events).await;
    }
}

#[tokio::test]
async fn case_02_a_soft_output_limit_on_a_slow_line_is_met_by_fewer_entries() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let proxy = proxy_to(&server).await;
    proxy.throttle(6_000_000);
    limit_output(&mut conn, "normal 0 2mb 1").await;
    let events = large_events(16, MIB);
    let mut config = config();
    config.delivery.batch_size = 16;
    all_are_handled(&mut conn, redis_at(proxy.address()), config, &events).await;
}

#[tokio::test]
async fn case_02_a_batch_that_a_slow_line_does_not_carry_in_time_gets_smaller() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let proxy = proxy_to(&server).await;
    // A full batch would take longer than a read may: 3.3 s with this lease.
    proxy.throttle(500_000);
    let mut config = config();
    config.delivery.lease = Duration::from_secs(1);
    config.delivery.batch_size = 32;
    config.delivery.concurrency = 32;
    let events = large_events(33, 60_000);
    all_are_handled(&mut conn, redis_at(proxy.address()), config, &events).await;
}

#[tokio::test]
async fn case_02_delayed_events_that_do_not_fit_one_reply_are_claimed_in_several() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let events = large_events(8, MIB);
    command(&mut conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    for event in &events {
        let id = xadd(&mut conn, event).await;
        command(&mut conn, "XREADGROUP GROUP g other COUNT 1 STREAMS s >").await;
        let delayed =
            format!("XCLAIM s g eventbus:delayed 0 {id} IDLE 86400000 RETRYCOUNT 0 JUSTID");
        command(&mut conn, &delayed).await;
    }
    limit_output(&mut conn, "normal 3mb 0 0").await;
    let running = Running::start(server.config(), config(), async |_| Answer::Done);
    drained(&mut conn).await;
    assert_eq!(running.seen.times().len(), 8);
}

#[tokio::test]
async fn case_02_an_event_that_cannot_be_fetched_alone_stops_no_other_one() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let huge = xadd(&mut conn, &payload(0, 2 * MIB)).await;
    for number in 1..=20 {
        xadd(&mut conn, &payload(number, 100)).await;
    }
    limit_output(&mut conn, "normal 1mb 0 0").await;
    let handler = Handler::start();
    let consumer = Consumer::start(&server, &handler.url(), &[]);
    handler.received(20).await;
    let groups = [GroupRequest {
        group: config().group,
        dead_letters: config().stream.dead_letters(&config().group),
    }];
    let facts = wait::until("the entry is reported", LONG, async || {
        let facts = snapshot(&mut conn, &config().stream, &groups).await.unwrap();
        let group = facts.groups.get("g").unwrap().clone();
        group.unfetchable.is_some().then_some(group)
    })
    .await;
    assert_eq!(facts.unfetchable.unwrap().to_string(), huge);
    assert_eq!(facts.pending, 1);
    let (_, metrics) = consumer.get("/metrics").await;
    let metric = r#"eventbus_unfetchable_entries{stream="s",group="g"} 1"#;
    assert!(metrics.contains(metric), "{metrics}");
    let output = consumer.output();
    assert!(output.contains("cannot fetch an entry") && output.contains(&huge), "{output}");
    // Once the limit is raised it is handled too.
    limit_output(&mut conn, "normal 0 0 0").await;
    handler.received(21).await;
    settled(&mut conn).await;
}

#[tokio::test]
async fn case_02_with_order_kept_an_event_that_is_cut_off_is_fetched_again_in_its_place() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let events = large_events(3, 2 * MIB);
    command(&mut conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    limit_output(&mut conn, "normal 1mb 0 0").await;
    for event in &events {
        xadd(&mut conn, event).await;
    }
    let mut config = config();
    config.delivery.ordering = DeliveryOrder::Stream;
    config.delivery.concurrency = 1;
    let running = Running::start(server.config(), config, async |_| Answer::Done);
    wait::until("the first event was delivered", LONG, async || {
        (pending(&mut conn.clone()).await == 1).then_some(())
    })
    .await;
    limit_output(&mut conn, "normal 0 0 0").await;
    drained(&mut conn).await;
    let seen: Vec<String> = running.seen.all().into_iter().map(|(payload, _)| payload).collect();
    assert!(seen == events);
    running.stop().await.unwrap();
}

#[expect(clippy::print_stderr, reason = "the measured numbers, for --nocapture")]
fn print(text: &str) {
    eprintln!("{text}");
}

/// Returns the peak of memory of a consumer that is ready and has had no event.
async fn memory_at_rest() -> usize {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let consumer = Consumer::start(&server, &handler.url(), &[]);
    wait::until("the consumer is ready", LONG, async || {
        (consumer.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    consumer.peak_memory()
}

/// Has `number` events of so many bytes handled, held back until the budget is used up. Returns the consumer's peak of
/// memory.
async fn peak_memory(number: usize, bytes: usize, max_bytes: usize) -> usize {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    for body in large_events(number, bytes) {
        publish(&mut conn, "t", &body).await;
    }
    handler.hold();
    let max_bytes = max_bytes.to_string();
    let settings = [
        ("DELIVERY_MAX_BYTES", max_bytes.as_str()),
        ("DELIVERY_CONCURRENCY", "64"),
        ("DELIVERY_BATCH_SIZE", "64"),
        ("DELIVERY_LEASE", "30s"),
        // As in the image.
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ];
    let consumer = Consumer::start(&server, &handler.url(), &settings);
    let fitting = max_bytes.parse::<usize>().unwrap() / (bytes + 100);
    handler.received(fitting).await;
    handler.release();
    settled(&mut conn).await;
    consumer.peak_memory()
}

#[tokio::test]
async fn case_02_a_consumer_keeps_to_its_budget_of_bytes_with_large_events() {
    let mut beside = 20_000_000;
    if cfg!(debug_assertions) {
        // A program that is not optimised takes that much at rest.
        beside = beside.max(memory_at_rest().await + 5_000_000);
    }
    for (number, bytes, max_bytes) in [(100, 1_000_000, 32 * MIB), (8, 16_000_000, 64 * MIB)] {
        let peak = peak_memory(number, bytes, max_bytes).await;
        let allowed = max_bytes + 2 * bytes + beside;
        print(&format!(
            "{number} events of {bytes} bytes, DELIVERY_MAX_BYTES={max_bytes}: at most {peak} bytes, {allowed} allowed"
        ));
        assert!(peak <= allowed, "{peak} of {allowed} with events of {bytes}");
    }
}
