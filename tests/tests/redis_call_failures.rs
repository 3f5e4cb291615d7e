//! What the calls of the bus answer when a key is of another type, rights are missing, or Redis is away.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use eventbus::config::BusConfig;
use eventbus::{CALL_TIMEOUT, EntryId, Error, EventBus, Start, StreamKey, chain};
use tests::event_bus::{bus_on, bus_with_permissions, group, in_time, is_late};
use tests::redis::RedisServer;
use tests::subscriber::{LONG, command};
use tests::wait;

/// As [`failures`], where Redis answers: a publish that a busy machine delayed beyond its limit is made again.
async fn refusals(bus: &EventBus) -> Vec<(&'static str, Error)> {
    let mut refusals = failures(bus).await;
    for (call, error) in &mut refusals {
        if *call == "publish" && is_late(error) {
            *error = in_time(async || bus.publish("t", &1, None).await).await.unwrap_err();
        }
    }
    refusals
}

/// Every call about the stream, at once, each with the error that it answers.
async fn failures(bus: &EventBus) -> Vec<(&'static str, Error)> {
    let g = group("g");
    let (create, forget, stream, of_group, events, published) = tokio::join!(
        bus.create_consumer_group(&g, Start::default()),
        bus.forget_consumer_group(&g),
        bus.get_stream_info(),
        bus.get_consumer_group_info(&g),
        bus.get_events_since(&g, EntryId::ZERO),
        bus.publish("t", &1, None),
    );
    vec![
        ("create_consumer_group", create.unwrap_err()),
        ("forget_consumer_group", forget.unwrap_err()),
        ("get_stream_info", stream.unwrap_err()),
        ("get_consumer_group_info", of_group.unwrap_err()),
        ("get_events_since", events.unwrap_err()),
        ("publish", published.unwrap_err()),
    ]
}

#[tokio::test]
async fn keys_of_another_type_are_errors_that_name_them() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    command(&mut conn, "SET s text").await;
    let stream_info = bus.get_stream_info().await.unwrap_err();
    let events = bus.get_events_since(&group("g"), EntryId::ZERO).await.unwrap_err();
    assert!(stream_info.is_wrong_type() && events.is_wrong_type(), "{stream_info:?} {events:?}");

    command(&mut conn, "SET {s}:eventbus:groups text").await;
    for (call, error) in refusals(&bus).await {
        assert!(error.is_wrong_type() && !error.is_transient(), "{call}: {error:?}");
        let key = match call {
            "forget_consumer_group" | "get_events_since" => "in {s}:eventbus:groups",
            _ => "on stream s",
        };
        assert!(error.to_string().ends_with(key), "{call}: {error}");
    }
    assert_eq!(command(&mut conn, "GET s").await, redis::Value::BulkString(b"text".to_vec()));
}

#[tokio::test]
async fn a_group_is_created_although_the_declarations_are_of_another_type() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    command(&mut server.connection().await, "SET {s}:eventbus:groups text").await;
    assert!(bus.create_consumer_group(&group("g"), Start::default()).await.unwrap());
}

#[tokio::test]
async fn missing_rights_are_told_as_such() {
    let server = RedisServer::start();
    command(&mut server.connection().await, "XGROUP CREATE s g 0 MKSTREAM").await;
    // Scripts may run, so that what is missing is the right to what they do.
    for permissions in [&[][..], &["+@scripting"]] {
        let bus = bus_with_permissions(&server, permissions).await;
        for (call, error) in refusals(&bus).await {
            assert_eq!(error.code(), Some("NOPERM"), "{call}: {}", chain(&error));
            assert!(error.is_auth() && !error.is_transient(), "{call}: {error:?}");
        }
    }
}

#[tokio::test]
async fn while_redis_is_away_every_call_fails_at_once_and_works_again_afterwards() {
    let mut server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.get_stream_info().await.unwrap();
    server.stop();
    for _ in 0..2 {
        for (call, error) in failures(&bus).await {
            assert!(error.is_transient(), "{call}: {error:?}");
        }
        assert!(bus.ping().await.unwrap_err().is_transient());
    }
    server.restart();
    wait::until("a call works", LONG, async || bus.get_stream_info().await.ok()).await;
    wait::until("a ping works", LONG, async || bus.ping().await.ok()).await;
}

#[tokio::test]
async fn while_redis_hangs_every_call_fails_in_time_and_works_again_afterwards() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.get_stream_info().await.unwrap();
    server.pause();
    // Without a limit of their own they would wait as long as Redis hangs.
    let limit = 5 * CALL_TIMEOUT;
    for (call, error) in wait::within("every call fails", limit, failures(&bus)).await {
        assert!(error.is_transient(), "{call}: {error:?}");
    }
    let ping = wait::within("a ping fails", limit, bus.ping()).await;
    assert!(ping.unwrap_err().is_transient());
    server.resume();
    wait::until("a call works", LONG, async || bus.get_stream_info().await.ok()).await;
}

#[tokio::test]
async fn without_a_redis_there_is_no_bus() {
    let mut server = RedisServer::start();
    let config = BusConfig::new(server.config(), StreamKey::new("s").unwrap());
    server.stop();
    let error = EventBus::connect(config).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.is_transient(), "{error:?}");
}
