//! Somebody at a terminal empties, destroys, moves or replaces what the library uses.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use eventbus::Error;
use eventbus::admin::Connection;
use eventbus::config::{CredentialFiles, RedisConfig};
use redis::Value;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, command, config, drained};
use tests::wait;

use crate::fleet::{Fleet, Health};
use crate::flow::{Flow, statistic};

#[tokio::test]
async fn f14_a_stream_that_is_deleted_under_waiting_readers_has_its_group_again_before_any_event() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    for words in ["FLUSHALL", "DEL s", "UNLINK s"] {
        crate::waits::readers_wait(&mut conn, 2).await;
        command(&mut conn, words).await;
        // Nobody publishes: the readers find out by themselves.
        crate::waits::group_exists(&mut conn).await;
        flow.publish(10).await;
        flow.all_are_handled().await;
    }
}

#[tokio::test]
async fn f17_a_key_of_another_type_is_named_and_waited_out() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    command(&mut conn, "SET s x").await;
    let error = flow.refusal().await;
    assert!(error.is_wrong_type(), "{error:?}");
    assert!(error.to_string().contains("on stream s"), "{error}");
    let (began, before) = (now(), statistic(&mut conn, "total_connections_received").await);
    wait::until("both consumers try again and again", LONG, async || {
        let made = statistic(&mut conn, "total_connections_received").await - before;
        (made >= 28).then_some(())
    })
    .await;
    // Two for each try: seconds on the average, and hardly ever so short by chance; without waits it takes milliseconds.
    let took = now() - began;
    assert!(took > Duration::from_millis(150), "28 connections within {took:?}");
    command(&mut conn, "DEL s").await;
    flow.publish(10).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f17_consumer_processes_live_on_beside_a_key_of_another_type_and_name_it_once() {
    let server = RedisServer::start();
    let mut fleet = Fleet::start(&server, 1, &[]).await;
    let health = Health::start(&server);
    let mut conn = server.connection().await;
    command(&mut conn, "DEL s").await;
    command(&mut conn, "SET s x").await;
    health.reports("/consumer_groups/g/error", "s is not a stream").await;
    // One that never saw the stream, too.
    fleet.add(&server, &[]);
    fleet.has_logged("WRONGTYPE").await;
    // Each has two connections, and makes them anew for each try.
    let before = statistic(&mut conn, "total_connections_received").await;
    wait::until("they try again", LONG, async || {
        (statistic(&mut conn, "total_connections_received").await >= before + 12).then_some(())
    })
    .await;
    for consumer in &fleet.consumers {
        assert_eq!(consumer.get("/livez").await.0, 200);
        let output = consumer.output();
        assert!(output.matches("WARN").count() <= 2, "a line for each try:\n{output}");
    }
    let output = fleet.consumers[1].output();
    let logged: Vec<_> = output.lines().filter(|line| line.contains("WRONGTYPE")).collect();
    assert!(matches!(logged[..], [line] if line.contains("on stream s")), "{output}");

    command(&mut conn, "DEL s").await;
    fleet.flow.publish(10).await;
    fleet.all_are_handled().await;
    health.reports("/consumer_groups/g/status", "ok").await;
    fleet.consumers[1].ready().await;
}

#[tokio::test]
async fn f29_a_password_that_was_rotated_is_read_from_its_file() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "ACL SETUSER u on >first ~* +@all").await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("user"), "u").unwrap();
    std::fs::write(path("password"), "first").unwrap();
    let files = CredentialFiles {
        username: Some(path("user")),
        password: Some(path("password")),
        ..CredentialFiles::default()
    };
    let redis = RedisConfig::new("url", &server.url(), files).unwrap();
    let mut flow = Flow::start_with(redis, config()).await;

    command(&mut conn, "ACL SETUSER u resetpass >second").await;
    command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
    let is_refused = async || flow.try_publish().await.err().filter(Error::is_auth);
    wait::until("it is refused", LONG, is_refused).await;
    command(&mut conn, "ACL LOG RESET").await;
    let began = now();
    wait::until("publisher and consumers try again and again", LONG, async || {
        (refused(&mut conn).await >= 18).then_some(())
    })
    .await;
    // A second on the average, and hardly ever so short by chance; without waits it takes milliseconds.
    let took = now() - began;
    assert!(took > Duration::from_millis(100), "refused 18 times within {took:?}");

    // While there is none nobody is asked.
    std::fs::remove_file(path("password")).unwrap();
    let is_missing = async || flow.try_publish().await.err().filter(|error| !error.is_auth());
    wait::until("the file is missed", LONG, is_missing).await;
    std::fs::write(path("new"), "second").unwrap();
    std::fs::rename(path("new"), path("password")).unwrap();
    flow.publish(10).await;
    flow.all_are_handled().await;
}

#[expect(clippy::disallowed_methods, reason = "time is what is tested")]
fn now() -> Instant {
    Instant::now()
}

/// How often somebody was refused for his name or password, since the server's list of that was emptied.
async fn refused(conn: &mut Connection) -> u64 {
    let log: Vec<HashMap<String, Value>> =
        redis::cmd("ACL").arg("LOG").arg(100).query_async(conn).await.unwrap();
    let auth = log.iter().filter(|entry| entry["reason"] == Value::BulkString("auth".into()));
    auth.map(|entry| redis::from_redis_value::<u64>(entry["count"].clone()).unwrap()).sum()
}

#[tokio::test]
async fn f41_of_two_processes_of_one_name_each_keeps_its_own_and_gets_what_the_other_leaves() {
    let server = RedisServer::start();
    let one_at_a_time =
        [("EVENT_CONSUMER", "twin"), ("DELIVERY_CONCURRENCY", "1"), ("DELIVERY_BATCH_SIZE", "1")];
    let mut fleet = Fleet::start(&server, 1, &one_at_a_time).await;
    fleet.handler.hold();
    fleet.flow.publish(1).await;
    let first = in_flight(&fleet, 1).await;
    fleet.add(&server, &one_at_a_time).ready().await;
    // The first one may put some of them by, which it does not begin.
    fleet.flow.publish(4).await;
    let second = in_flight(&fleet, 2).await;

    drop(fleet.consumers.remove(0));
    fleet.has_logged("moved entries of vanished consumers to the suspects").await;
    assert_eq!(fleet.attempts(&second), ["1"], "it was not taken from the one that lives");
    fleet.handler.release();
    fleet.all_are_handled().await;
    drained(&mut server.connection().await).await;
    assert_eq!(fleet.attempts(&first), ["1", "2"]);
    assert_eq!(fleet.attempts(&second), ["1"]);
    assert_eq!(fleet.repeats(), 1);
}

/// The event in the hand of the consumer that was the `number`th to take one, after the first event of the fleet.
async fn in_flight(fleet: &Fleet, number: usize) -> String {
    fleet.handler.received(1 + number).await[number].header("idempotency-key").to_owned()
}
