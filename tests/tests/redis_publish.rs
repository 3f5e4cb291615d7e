//! Publishing to a real server: what stands on the wire, and what happens when nobody answers.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use eventbus::config::{BusConfig, CredentialFiles, PUBLISH_TIMEOUT, RedisConfig};
use eventbus::{MAX_PAYLOAD, NewEvent, Payload, StreamEvent, StreamKey};
use redis::streams::StreamRangeReply;
use serde_json::json;
use tests::event_bus::{
    bus_on, bus_with_permissions, connect, in_time, is_late, publish, published,
};
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

#[tokio::test]
async fn an_event_stands_in_the_stream_under_the_id_that_publish_answers() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let publish = async || bus.publish("user.login", &json!({"user": 7}), Some("bff")).await;
    let id = in_time(publish).await.unwrap();
    let mut conn = server.connection().await;
    let mut range = redis::cmd("XRANGE");
    let id_text = id.to_string();
    let reply: StreamRangeReply =
        range.arg("s").arg(&id_text).arg(&id_text).query_async(&mut conn).await.unwrap();
    let entry = reply.ids.into_iter().next().expect("it stands there under its ID");
    let text = |value| redis::from_redis_value::<String>(value).unwrap();
    let fields: BTreeMap<String, String> =
        entry.map.into_iter().map(|(name, value)| (name, text(value))).collect();
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "payload", "source", "ts", "type"]);
    assert_eq!(fields["payload"], r#"{"user":7}"#);
    assert_eq!((fields["type"].as_str(), fields["source"].as_str()), ("user.login", "bff"));
    let published: jiff::Timestamp = fields["ts"].parse().unwrap();
    let stored = jiff::Timestamp::from_millisecond(i64::try_from(id.ms).unwrap()).unwrap();
    assert!(published.duration_until(stored).abs() < jiff::SignedDuration::from_mins(5));
}

#[tokio::test]
async fn many_callers_share_one_connection() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let mut conn = server.connection().await;
    let before = connections(&mut conn).await;
    // On a busy machine some may be late, each of which may cost a connection.
    let late = AtomicU32::new(0);
    let publish = (0..200).map(async |n: u32| {
        wait::until("a publish works", LONG, async || match bus.publish("t", &n, None).await {
            Err(error) if error.is_transient() => {
                late.fetch_add(1, Ordering::Relaxed);
                None
            }
            result => Some(result.unwrap()),
        })
        .await
    });
    let ids = futures::future::join_all(publish).await;
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 200);
    let (made, late) = (connections(&mut conn).await - before, late.into_inner());
    assert!(made <= late, "{made} more connections, {late} of 200 were late");
}

/// Connections that the server has taken so far.
async fn connections(conn: &mut eventbus::admin::Connection) -> u32 {
    let stats: String = redis::cmd("INFO").arg("stats").query_async(conn).await.unwrap();
    let connections = stats.lines().find_map(|l| l.strip_prefix("total_connections_received:"));
    connections.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_with_its_size() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let large = Payload::from_text(format!("\"{}\"", "x".repeat(MAX_PAYLOAD))).unwrap();
    let error = bus.publish_event(NewEvent::new("t", large)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the payload of an event of type t has 1048578 bytes, the limit is 1048576"
    );
}

#[tokio::test]
async fn while_redis_hangs_a_publish_fails_in_time_and_works_again_afterwards() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    server.pause();
    // Without a limit of its own it would wait as long as Redis hangs.
    let failed = wait::within("the publish fails", LONG, bus.publish("t", &1, None)).await;
    let error = failed.unwrap_err();
    assert!(error.is_transient() && is_late(&error), "{error}");
    server.resume();
    publish(&bus, "t", 2).await;
}

#[tokio::test]
async fn after_a_restart_of_redis_publishing_goes_on() {
    let mut server = RedisServer::start();
    let bus = bus_on(&server).await;
    server.stop();
    assert!(bus.publish("t", &1, None).await.unwrap_err().is_transient());
    server.restart();
    publish(&bus, "t", 2).await;
}

/// A way to the server on which every new connection first does nothing for a while.
async fn slow_way_to(server: &RedisServer) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, target) = (listener.local_addr().unwrap().port(), server.port());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(PUBLISH_TIMEOUT + Duration::from_millis(100)).await;
                let server = tokio::net::TcpStream::connect(("127.0.0.1", target)).await;
                tokio::io::copy_bidirectional(&mut client, &mut server.unwrap()).await.ok();
            });
        }
    });
    port
}

#[tokio::test]
async fn a_connect_that_takes_longer_than_a_publish_serves_the_next_one() {
    let mut server = RedisServer::start();
    // Database 1, so that connecting waits for an answer.
    let url = format!("redis://127.0.0.1:{}/1", slow_way_to(&server).await);
    let redis = RedisConfig::new("url", &url, CredentialFiles::default()).unwrap();
    let config = BusConfig::new(redis, StreamKey::new("s").unwrap());
    let bus = connect(config).await;
    server.restart();
    publish(&bus, "t", 2).await;
}

#[tokio::test]
async fn a_type_that_no_group_could_ask_for_is_refused_and_nothing_is_sent() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let long = "x".repeat(129);
    for event_type in
        ["", "user login", "user.login\n", "user.*", ".login", "a..b", "ä", "\0", &long]
    {
        let error = bus.publish(event_type, &1, None).await.unwrap_err();
        let expected = format!(
            "event type {event_type:?} must have 1 to 128 of letters, digits, '_', '-', in parts joined by single dots"
        );
        assert_eq!((error.to_string(), error.is_transient()), (expected, false));
    }
    let mut conn = server.connection().await;
    let keys: u32 = redis::cmd("DBSIZE").query_async(&mut conn).await.unwrap();
    assert_eq!(keys, 0);
}

#[tokio::test]
async fn a_refused_type_is_shown_no_longer_than_a_type_may_be() {
    let server = RedisServer::start();
    let error = bus_on(&server).await.publish(&"x".repeat(100_000), &1, None).await.unwrap_err();
    assert!(error.to_string().len() < 300);
}

#[tokio::test]
async fn a_payload_without_a_json_form_is_an_error_that_does_not_show_it() {
    let server = RedisServer::start();
    let map = std::collections::HashMap::from([((1, 2), "hunter2")]);
    let error = bus_on(&server).await.publish("t", &map, None).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot write the payload of an event of type t as JSON");
    assert!(!eventbus::chain(&error).contains("hunter2"));
}

#[tokio::test]
async fn an_event_has_its_own_id_before_it_is_sent_and_the_longest_type_is_taken() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    in_time(async || bus.publish(&"x".repeat(128), &1, None).await).await.unwrap();
    let mut conn = server.connection().await;
    let mut range = redis::cmd("XRANGE");
    let reply: StreamRangeReply =
        range.arg("s").arg("-").arg("+").query_async(&mut conn).await.unwrap();
    let id: String = reply.ids[0].get("id").unwrap();
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "{id} is a UUID of version 7");
}

#[tokio::test]
async fn a_stream_of_another_type_is_an_error_that_names_it() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let mut conn = server.connection().await;
    redis::cmd("SET").arg("s").arg("x").exec_async(&mut conn).await.unwrap();
    let error = in_time(async || bus.publish("t", &1, None).await).await.unwrap_err();
    assert!(error.is_wrong_type() && !error.is_transient());
    assert!(error.to_string().contains("on stream s"), "{error}");
}

#[tokio::test]
async fn what_is_published_reads_back() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let mut event = NewEvent::new("a.b", Payload::from_text("[1, 2]".to_owned()).unwrap());
    (event.id, event.key) = (Some("mi\0ne\r\n".to_owned()), Some("k\n\0".to_owned()));
    // Not one that W3C would take: it is passed on all the same.
    event.traceparent = Some("00-1-2-01".to_owned());
    event.tracestate = Some("a=1,b=2".to_owned());
    published(&bus, event).await;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(None::<StreamEvent>));
    let note = seen.clone();
    let running = tests::subscriber::Running::start(
        server.config(),
        tests::subscriber::config(),
        move |delivery| {
            *note.lock().unwrap() = Some(delivery.event.clone());
            async { eventbus::Answer::Done }
        },
    );
    let mut conn = server.connection().await;
    tests::subscriber::drained(&mut conn).await;
    let event = seen.lock().unwrap().take().unwrap();
    assert_eq!((event.event_id(), event.key()), ("mi\0ne\r\n", Some("k\n\0")));
    assert_eq!(event.traceparent(), Some("00-1-2-01"));
    assert_eq!(event.tracestate(), Some("a=1,b=2"));
    assert_eq!(event.payload().as_str(), "[1, 2]");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn f30_a_publisher_without_rights_is_told_all_that_it_lacks_at_once() {
    let server = RedisServer::start();
    let bus = bus_with_permissions(&server, &["+xlen", "+xinfo|groups"]).await;
    let error = in_time(async || bus.publish("t", &1, None).await).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot publish an event on stream s: the Redis user has no permission for XADD, XTRIM (to trim), XRANGE (to trim), \
         XINFO STREAM (to trim), XPENDING (to trim), HGETALL on the hash of groups (to trim), EVAL (to trim), EVALSHA (to trim)"
    );
    assert!(error.is_auth() && !error.is_transient());
    let mut conn = server.connection().await;
    let keys: u64 = redis::cmd("DBSIZE").query_async(&mut conn).await.unwrap();
    assert_eq!(keys, 0, "trying the rights changes nothing");
}

#[tokio::test]
async fn a_publisher_that_may_only_append_publishes_and_leaves_trimming_to_others() {
    let server = RedisServer::start();
    let bus = bus_with_permissions(&server, &["+xadd"]).await;
    publish(&bus, "t", 1).await;
}

#[tokio::test]
async fn a_bus_that_only_subscribes_needs_no_right_to_publish() {
    let server = RedisServer::start();
    let bus = bus_with_permissions(&server, &[]).await;
    in_time(async || bus.ping().await).await.unwrap();
}
