//! `consumer run` as a real process: how it starts, tells of itself, and ends.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::net::{Ipv4Addr, TcpListener};

use redis::Value;
use tests::consumer::{Consumer, SOON, pending, publish, run, settled};
use tests::handler::Handler;
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::wait;

const SUBMITTED: &str = "application.submitted";
/// No test connects to it.
const NOWHERE: &str = "redis://127.0.0.1:1";

#[tokio::test]
async fn wrong_settings_are_told_all_at_once_and_end_the_program_with_2() {
    let settings = [
        ("REDIS_URL", "http://h"),
        ("HANDLER_URL", "http://169.254.169.254/latest/meta-data"),
        ("DELIVERY_LEASE", "1s"),
        ("RUST_LOG", "info=loud"),
        ("LOG_FORMAT", "xml"),
    ];
    let mut program =
        Running::start("consumer", &["run", "--delivery-concurrency", "0"], &settings);

    assert_eq!(program.ended(SOON).await.code(), Some(2));

    let output = program.output();
    let expected = [
        r#"REDIS_URL="http://h": must be redis://host:port/db or rediss://host:port/db"#,
        r#"EVENT_GROUP="": must be set"#,
        r#"HANDLER_URL="http://169.254.169.254/latest/meta-data": must not lead to a link-local address"#,
        r#"DELIVERY_LEASE="1s": must be a duration such as 90s or 1h30m, from 5s to 1h"#,
        r#"DELIVERY_CONCURRENCY="0": must be a number from 1 to 256"#,
        r#"LOG_FORMAT="xml": must be text or json"#,
        r#"RUST_LOG="info=loud": must be levels such as"#,
    ];
    for line in expected {
        assert!(output.lines().any(|found| found.starts_with(line)), "{line}\nis not in\n{output}");
    }
    assert_eq!(output.lines().count(), expected.len(), "{output}");
}

#[tokio::test]
async fn right_settings_pass_the_check_without_a_server() {
    let settings = [("REDIS_URL", NOWHERE), ("EVENT_GROUP", "g"), ("HANDLER", "log")];
    let mut program = Running::start("consumer", &["run", "--check"], &settings);
    assert!(program.ended(SOON).await.success());
}

#[tokio::test]
async fn a_flag_overrides_the_variable_of_its_name() {
    let settings = [("EVENT_GROUP", "not a group"), ("HANDLER", "log")];
    let args = ["run", "--check", "--event-group", "g"];
    let mut program = Running::start("consumer", &args, &settings);
    assert!(program.ended(SOON).await.success(), "{}", program.output());
}

#[tokio::test]
async fn an_address_that_is_taken_ends_the_program_with_1() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings =
        [("REDIS_URL", NOWHERE), ("EVENT_GROUP", "g"), ("HANDLER", "log"), ("LISTEN", &address)];
    let mut program = Running::start("consumer", &["run"], &settings);

    assert_eq!(program.ended(SOON).await.code(), Some(1));

    let output = program.output();
    assert!(output.contains(&format!("cannot listen on {address}")), "{output}");
}

#[tokio::test]
async fn it_is_ready_once_it_has_found_its_server_and_group_and_stays_so_in_an_outage() {
    let (mut server, handler) = (RedisServer::start(), Handler::start());
    server.stop();
    let consumer = Consumer::start(&server, &handler.url(), &[]);

    assert_eq!(consumer.get("/livez").await.0, 200);
    assert_eq!(consumer.get("/readyz").await.0, 503);

    server.restart();
    consumer.ready().await;

    server.stop();
    wait::until("the outage is noticed", SOON, async || {
        let (_, metrics) = consumer.get("/metrics").await;
        metrics
            .lines()
            .any(|line| line == r#"eventbus_redis_up{connection="consume"} 0"#)
            .then_some(())
    })
    .await;
    assert_eq!(consumer.get("/livez").await.0, 200);
    assert_eq!(consumer.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn without_a_start_it_waits_for_a_group_that_somebody_else_creates() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    publish(&mut conn, SUBMITTED, "{}").await;
    let consumer = Consumer::start(&server, &handler.url(), &[("EVENT_START", "")]);

    assert_eq!(consumer.get("/readyz").await, (503, "waiting for group\n".to_owned()));
    wait::until("it is connected", SOON, async || {
        let (_, metrics) = consumer.get("/metrics").await;
        metrics
            .lines()
            .any(|line| line == r#"eventbus_redis_up{connection="consume"} 1"#)
            .then_some(())
    })
    .await;
    assert_eq!(consumer.get("/readyz").await.0, 503);
    let groups: Vec<Value> = run(&mut conn, redis::cmd("XINFO").arg("GROUPS").arg("s")).await;
    assert!(groups.is_empty(), "it made a group by itself");

    let create = redis::cmd("XGROUP").arg("CREATE").arg("s").arg("g").arg("0").to_owned();
    run::<()>(&mut conn, &create).await;
    consumer.ready().await;
    handler.received(1).await;
    settled(&mut conn).await;
}

#[tokio::test]
async fn its_metrics_tell_what_became_of_events() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    let consumer = Consumer::start(&server, &handler.url(), &[("EVENT_TYPES", SUBMITTED)]);
    publish(&mut conn, SUBMITTED, "{}").await;
    publish(&mut conn, "user.login", "{}").await;
    settled(&mut conn).await;

    let response = consumer.response("/metrics").await;
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let metrics = wait::until("both are counted", SOON, async || {
        let (_, metrics) = consumer.get("/metrics").await;
        let count = |outcome| {
            format!(r#"eventbus_consumed_total{{stream="s",group="g",outcome="{outcome}"}} 1"#)
        };
        let both = ["ack", "skipped"].map(count).iter().all(|line| metrics.contains(line));
        both.then_some(metrics)
    })
    .await;

    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    assert!(metrics.contains(r#"eventbus_build_info{version=""#), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test]
async fn told_to_stop_it_finishes_what_it_has_in_hand_and_leaves_the_group() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.hold();
    let mut consumer = Consumer::start(&server, &handler.url(), &[("DELIVERY_CONCURRENCY", "1")]);
    publish(&mut conn, SUBMITTED, r#"{"n":1}"#).await;
    handler.received(1).await;

    consumer.terminate();
    wait::until("it has heard of it", SOON, async || {
        consumer.output().contains("stopping: finishing").then_some(())
    })
    .await;
    publish(&mut conn, SUBMITTED, r#"{"n":2}"#).await;
    handler.release();
    let status = consumer.ended().await;

    assert!(status.success(), "{status}\n{}", consumer.output());
    let bodies: Vec<String> = handler
        .requests()
        .iter()
        .map(|request| String::from_utf8(request.body.to_vec()).unwrap())
        .collect();
    assert_eq!(bodies, [r#"{"n":1}"#]);
    let consumers: Vec<Vec<Value>> =
        run(&mut conn, redis::cmd("XINFO").arg("CONSUMERS").arg("s").arg("g")).await;
    for consumer in consumers {
        let name = redis::from_redis_value::<String>(consumer[1].clone()).unwrap();
        assert!(name.starts_with("eventbus:"), "{name} has not left");
    }

    // The second event may have come by the read that was under way: it was then handed back, and not lost.
    let _next = Consumer::start(&server, &handler.url(), &[]);
    assert_eq!(handler.received(2).await[1].body, r#"{"n":2}"#);
    settled(&mut conn).await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.hold();
    let mut consumer = Consumer::start(&server, &handler.url(), &[]);
    publish(&mut conn, SUBMITTED, "{}").await;
    handler.received(1).await;

    consumer.terminate();
    wait::until("it has heard of it", SOON, async || {
        consumer.output().contains("stopping: finishing").then_some(())
    })
    .await;
    consumer.terminate();

    assert_eq!(consumer.ended().await.code(), Some(1));
    assert_eq!(pending(&mut conn).await, Some(1));
}

#[tokio::test]
async fn the_end_of_the_grace_cuts_off_a_handler_and_hands_its_event_back() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.hold();
    let mut consumer = Consumer::start(&server, &handler.url(), &[("SHUTDOWN_GRACE", "1s")]);
    publish(&mut conn, SUBMITTED, "{}").await;
    handler.received(1).await;

    consumer.terminate();
    let status = consumer.ended().await;

    assert!(status.success(), "{status}\n{}", consumer.output());
    assert_eq!(pending(&mut conn).await, Some(1));
}

#[tokio::test]
async fn f30_the_rights_that_it_lacks_are_named_together_and_given_it_goes_on() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    for rule in ["on", ">secret", "~*", "+@all", "-xclaim", "-xack", "-xadd"] {
        let set = redis::cmd("ACL").arg("SETUSER").arg("consumer").arg(rule).to_owned();
        let _: Value = run(&mut conn, &set).await;
    }
    let url = format!("redis://consumer:secret@127.0.0.1:{}", server.port());
    let consumer = Consumer::start(&server, &handler.url(), &[("REDIS_URL", &url)]);
    let missing = "no permission for XACK, XCLAIM, XADD on the dead letters, XCLAIM on the dead letters, \
                   XACK on the dead letters";
    wait::until("it logs the missing permissions", SOON, async || {
        consumer.output().contains(missing).then_some(())
    })
    .await;
    assert_eq!(consumer.get("/readyz").await.0, 503);
    let set = redis::cmd("ACL").arg("SETUSER").arg("consumer").arg("+@all").to_owned();
    let _: Value = run(&mut conn, &set).await;
    consumer.ready().await;
}
