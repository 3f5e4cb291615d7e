//! The outbox on a real server: what becomes of events while Redis is away, refuses them, or comes back.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeMap;
use std::num::NonZeroU8;
use std::time::Duration;

use PublishOutcome::Spooled;
use eventbus::config::{
    CredentialFiles, Durability, HardCap, OutboxConfig, Overflow, RedisConfig, TrimMode,
};
use eventbus::{Error, EventBus, Metrics, NewEvent, Payload, PublishOutcome, StreamKey};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use redis::streams::StreamRangeReply;
use tests::event_bus::{connect_with_metrics, in_time};
use tests::outbox::{config, directory, event, first_ids, ids, open, publish};
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

/// So that what Redis has confirmed outlives it.
const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Waits until everything is sent.
async fn sent(bus: &EventBus) {
    assert_eq!(bus.flush_outbox(LONG).await, 0, "events are still unsent");
}

#[tokio::test]
async fn an_event_stands_in_the_stream_under_the_id_that_is_answered() {
    let (server, dir) = (RedisServer::start(), directory());
    let bus = open(config(&server, dir.path())).await;
    let mut event = NewEvent::new("user.login", Payload::from_text("{\"u\": 7}".into()).unwrap());
    (event.source_service, event.key) = (Some("bff".into()), Some("k\0".into()));
    // On a busy machine Redis may be late, and the event is spooled.
    let id = wait::until("an event is taken at once", LONG, async || {
        match bus.publish_or_spool(event.clone()).await.unwrap() {
            PublishOutcome::Published(id) => Some(id.to_string()),
            Spooled => None,
        }
    })
    .await;
    let mut conn = server.connection().await;
    let reply: StreamRangeReply =
        redis::cmd("XRANGE").arg("s").arg(&id).arg(&id).query_async(&mut conn).await.unwrap();
    let entry = reply.ids.into_iter().next().expect("it stands there under its ID");
    let text = |value| redis::from_redis_value::<String>(value).unwrap();
    let fields: BTreeMap<String, String> =
        entry.map.into_iter().map(|(name, value)| (name, text(value))).collect();
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "key", "payload", "source", "ts", "type"]);
    assert_eq!((fields["payload"].as_str(), fields["key"].as_str()), ("{\"u\": 7}", "k\0"));
    assert_eq!(fields["id"].len(), 36);
}

#[tokio::test]
async fn without_an_outbox_an_event_is_published_or_refused() {
    let mut server = RedisServer::start();
    let bus = tests::event_bus::bus_on(&server).await;
    let outcome = in_time(async || bus.publish_or_spool(event(1)).await).await.unwrap();
    assert!(matches!(outcome, PublishOutcome::Published(_)), "{outcome:?}");
    server.stop();
    assert!(bus.publish_or_spool(event(2)).await.unwrap_err().is_transient());
}

#[tokio::test]
async fn while_redis_hangs_the_first_caller_waits_for_a_publish_and_the_next_not_at_all() {
    let (server, dir) = (RedisServer::start(), directory());
    let bus = open(config(&server, dir.path())).await;
    publish(&bus, [0]).await;
    server.pause();
    // Without a limit of its own it would wait as long as Redis hangs.
    let first = wait::within("the first caller is answered", LONG, publish(&bus, [1])).await;
    assert_eq!(first, [Spooled]);
    // One publish timeout each would be longer than the deadline.
    let next = wait::within("the next callers are answered", LONG, publish(&bus, 2..402)).await;
    assert_eq!(next, [Spooled; 400]);
    server.resume();
    sent(&bus).await;
    assert_eq!(first_ids(&mut server.connection().await).await, numbers(0..402));
}

#[tokio::test]
async fn what_an_outage_held_back_is_sent_in_order_before_what_comes_later() {
    let (mut server, dir) = (RedisServer::start_with(&AOF), directory());
    let bus = open(config(&server, dir.path())).await;
    publish(&bus, 0..10).await;
    server.stop();
    // More than is kept in memory.
    assert!(publish(&bus, 10..1_500).await.iter().all(|outcome| *outcome == Spooled));
    server.restart();
    publish(&bus, 1_500..1_600).await;
    sent(&bus).await;
    assert_eq!(first_ids(&mut server.connection().await).await, numbers(0..1_600));
    wait::until("an event is taken at once again", LONG, async || {
        let outcome = bus.publish_or_spool(event(1_600)).await.unwrap();
        matches!(outcome, PublishOutcome::Published(_)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_starts_without_redis_and_its_events_are_sent_once_redis_is_there() {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    let bus = open(config(&server, dir.path())).await;
    assert_eq!(publish(&bus, 0..3).await, [Spooled; 3]);
    server.restart();
    sent(&bus).await;
    assert_eq!(first_ids(&mut server.connection().await).await, numbers(0..3));
}

#[tokio::test]
async fn what_was_not_sent_before_a_restart_of_the_service_is_sent_first_after_it() {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    let bus = open(config(&server, dir.path())).await;
    publish(&bus, 0..5).await;
    assert_eq!(bus.flush_outbox(Duration::from_millis(10)).await, 5);
    drop(bus);
    server.restart();
    let bus = open(config(&server, dir.path())).await;
    publish(&bus, 5..8).await;
    sent(&bus).await;
    assert_eq!(first_ids(&mut server.connection().await).await, numbers(0..8));
}

#[tokio::test]
async fn an_outbox_is_one_bus_alone_and_one_stream_alone() {
    let (mut server, dir) = (RedisServer::start(), directory());
    let first = open(config(&server, dir.path())).await;
    let Err(error) = EventBus::connect(config(&server, dir.path())).await else {
        panic!("two share an outbox")
    };
    assert!(matches!(error, Error::OutboxTaken { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
    server.stop();
    publish(&first, [1]).await;
    drop(first);
    let other = {
        let mut config = config(&server, dir.path());
        config.stream = StreamKey::new("t").unwrap();
        config
    };
    let refused = async || match EventBus::connect(other.clone()).await {
        Err(Error::OutboxTaken { .. }) => None,
        Err(error) => Some(error),
        Ok(_) => panic!("it takes another stream's events"),
    };
    let error = wait::until("the outbox is free", LONG, refused).await;
    assert!(error.to_string().contains("belongs to stream s, not to stream t"), "{error}");
}

#[tokio::test]
async fn an_event_that_redis_refuses_holds_up_all_behind_it_and_none_is_skipped() {
    let (server, dir) = (RedisServer::start(), directory());
    let mut conn = server.connection().await;
    redis::cmd("SET").arg("s").arg("x").exec_async(&mut conn).await.unwrap();
    let bus = open(config(&server, dir.path())).await;
    assert_eq!(publish(&bus, 0..5).await, [Spooled; 5]);
    redis::cmd("DEL").arg("s").exec_async(&mut conn).await.unwrap();
    sent(&bus).await;
    assert_eq!(first_ids(&mut conn).await, numbers(0..5));
}

#[tokio::test]
async fn a_redis_that_is_out_of_memory_takes_nothing_until_it_takes_all_in_order() {
    let (server, dir) = (RedisServer::start(), directory());
    let bus = open(config(&server, dir.path())).await;
    let mut conn = server.connection().await;
    let limit = async |conn: &mut eventbus::admin::Connection, bytes: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes).exec_async(conn).await.unwrap();
    };
    limit(&mut conn, "1").await;
    assert_eq!(publish(&bus, 0..20).await, [Spooled; 20]);
    limit(&mut conn, "0").await;
    sent(&bus).await;
    assert_eq!(first_ids(&mut conn).await, numbers(0..20));
}

#[tokio::test]
async fn events_that_gathered_are_sent_all_or_none() {
    // On a busy machine Redis may be late, and what it took is sent again, but not each time.
    wait::until("one transaction for all events", LONG, async || {
        let (mut server, dir) = (RedisServer::start(), directory());
        server.stop();
        let bus = open(config(&server, dir.path())).await;
        publish(&bus, 0..100).await;
        server.restart();
        sent(&bus).await;
        let mut info = redis::cmd("INFO");
        let mut conn = server.connection().await;
        let stats: String = info.arg("commandstats").query_async(&mut conn).await.unwrap();
        let calls = |name: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(":calls=")?.split(',').next()?.parse::<u32>().ok()
        };
        // One to ask whether it may, one for all events.
        let calls = (calls("cmdstat_exec"), calls("cmdstat_xadd"));
        (calls == (Some(2), Some(100))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_for_a_full_stream_wait_until_it_has_room() {
    let (server, dir) = (RedisServer::start(), directory());
    let mut config = config(&server, dir.path());
    config.retention.mode = TrimMode::None;
    config.retention.hard_cap = Some(HardCap { entries: 3, overflow: Overflow::Reject });
    let mut conn = server.connection().await;
    for n in ["a", "b", "c"] {
        let mut add = redis::cmd("XADD");
        add.arg("s").arg("*").arg("id").arg(n).exec_async(&mut conn).await.unwrap();
    }
    let bus = open(config).await;
    assert_eq!(publish(&bus, 0..2).await, [Spooled; 2]);
    assert_eq!(ids(&mut conn).await, ["a", "b", "c"]);
    redis::cmd("XTRIM").arg(&["s", "MAXLEN", "0"]).exec_async(&mut conn).await.unwrap();
    sent(&bus).await;
    assert_eq!(first_ids(&mut conn).await, ["0", "1"]);
}

#[tokio::test]
async fn without_the_right_to_use_transactions_events_are_sent_one_by_one_and_once_each() {
    // On a busy machine Redis may be late, and what it took is sent again, but not each time.
    wait::until("each stands there once", LONG, async || {
        (sent_without_transactions().await == numbers(0..20)).then_some(())
    })
    .await;
}

/// The ids in the stream of twenty events that a user without transactions sends from an outbox.
async fn sent_without_transactions() -> Vec<String> {
    let (mut server, dir) = (RedisServer::start_with(&AOF), directory());
    let permissions = async |server: &RedisServer| {
        let mut user = redis::cmd("ACL");
        user.arg(&["SETUSER", "u", "reset", "on", ">p", "~s", "~{s}:*", "+ping", "+xadd"]);
        user.exec_async(&mut server.connection().await).await.unwrap();
    };
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let redis = RedisConfig::new("REDIS_URL", &url, CredentialFiles::default()).unwrap();
    let mut config = config(&server, dir.path());
    config.redis = redis;
    config.retention.mode = TrimMode::None;
    server.stop();
    let bus = open(config.clone()).await;
    publish(&bus, 0..20).await;
    drop(bus);
    server.restart();
    permissions(&server).await;
    let bus = open(config).await;
    sent(&bus).await;
    let ids = ids(&mut server.connection().await).await;
    let mut once = ids.clone();
    once.dedup();
    assert_eq!(once, numbers(0..20));
    ids
}

#[tokio::test]
async fn a_full_outbox_publishes_directly_and_says_where_that_fails_too() {
    let (mut server, dir) = (RedisServer::start(), directory());
    let mut config = config(&server, dir.path());
    let max_bytes = 1024 * 1024;
    config.outbox = Some(OutboxConfig::new(dir.path()).with_max_bytes(max_bytes));
    server.stop();
    let bus = open(config).await;
    let large = |n: usize| {
        let payload = Payload::from_text(format!("\"{}\"", "x".repeat(200_000))).unwrap();
        {
            let mut event = event(n);
            event.payload = payload;
            event
        }
    };
    for n in 0..5 {
        assert_eq!(bus.publish_or_spool(large(n)).await.unwrap(), Spooled);
    }
    let error = bus.publish_or_spool(large(5)).await.unwrap_err();
    let expected = format!(
        "the event was not stored, because the outbox {} is full (1048576 bytes), and could not be published",
        dir.path().display()
    );
    assert_eq!((error.to_string(), error.is_transient()), (expected, true));
    assert!(eventbus::chain(&error).contains("onnect"), "{}", eventbus::chain(&error));
    let used: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .sum();
    assert!(used <= max_bytes, "{used}");
    // Redis takes what is published directly, but not yet what stands in the outbox.
    server.restart();
    sent(&bus).await;
    assert_eq!(first_ids(&mut server.connection().await).await, numbers(0..5));
    // There is room again: it goes by way of the disk.
    bus.publish_or_spool(large(6)).await.unwrap();
    let sizes = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata());
    assert!(sizes.into_iter().any(|size| size.unwrap().len() > 200_000), "it is not in a segment");
}

#[tokio::test]
async fn an_event_that_is_not_confirmed_waits_and_is_not_sent_twice() {
    // On a busy machine Redis may be late, and what it took is sent again, but not each time.
    wait::until("it stands there once", 2 * LONG, async || {
        let (server, dir) = (RedisServer::start(), directory());
        let durability = Durability::Replicated(NonZeroU8::MIN);
        let bus = open(config(&server, dir.path()).with_durability(durability)).await;
        assert_eq!(publish(&bus, [0]).await, [Spooled]);
        let mut conn = server.connection().await;
        let mut waits = async || {
            let mut info = redis::cmd("INFO");
            let stats: String = info.arg("commandstats").query_async(&mut conn).await.unwrap();
            let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_wait:calls="))?;
            line.split(',').next()?.parse::<u32>().ok().filter(|calls| *calls >= 4)
        };
        wait::until("it waited again and again", LONG, async || waits().await).await;
        assert_eq!(bus.flush_outbox(Duration::ZERO).await, 1);
        let ids = ids(&mut server.connection().await).await;
        assert!(ids.iter().all(|id| id == "0"), "{ids:?}");
        (ids.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_bus_refuses_is_not_written() {
    let (server, dir) = (RedisServer::start(), directory());
    let bus = open(config(&server, dir.path())).await;
    let error = bus
        .publish_or_spool({
            let mut event = event(1);
            event.event_type = "a b".into();
            event
        })
        .await;
    assert!(matches!(error, Err(Error::EventType { .. })));
    let key = Some("k".repeat(5 * 1024 * 1024));
    let error = bus
        .publish_or_spool({
            let mut event = event(2);
            event.key = key;
            event
        })
        .await;
    assert!(matches!(error, Err(Error::RecordTooLarge { .. })));
    publish(&bus, [3]).await;
    sent(&bus).await;
    assert_eq!(first_ids(&mut server.connection().await).await, ["3"]);
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_leaves_the_direct_way_and_an_error_where_that_fails_too() {
    let (mut server, dir) = (RedisServer::start(), directory());
    let outbox = dir.path().join("outbox");
    let bus = open(config(&server, &outbox)).await;
    std::fs::remove_dir_all(&outbox).unwrap();
    // On a busy machine Redis may be late, and there is no outbox for that.
    let outcome = wait::until("the event is published directly", LONG, async || {
        match bus.publish_or_spool(event(1)).await {
            Err(error) if error.is_transient() => None,
            outcome => Some(outcome.unwrap()),
        }
    });
    assert!(matches!(outcome.await, PublishOutcome::Published(_)));
    assert_eq!(first_ids(&mut server.connection().await).await, ["1"]);
    server.stop();
    let error = bus.publish_or_spool(event(2)).await.unwrap_err();
    let expected = format!(
        "the event was not stored, because the outbox {} cannot be written (No such file or directory (os error 2)), and could not be published",
        outbox.display()
    );
    assert_eq!((error.to_string(), error.label()), (expected, "outbox_write"));
}

#[tokio::test]
async fn sixty_four_callers_need_at_most_one_sync_for_sixteen_events() {
    const CALLERS: usize = 64;
    const EACH: usize = 50;
    const EVENTS: usize = CALLERS * EACH;
    let (server, dir) = (RedisServer::start(), directory());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let bus = connect_with_metrics(config(&server, dir.path()), &metrics).await;
    let value = |name: &str| {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in\n{text}")).split(' ').next_back();
        value.unwrap().parse::<usize>().unwrap()
    };
    let mut events = 0;
    // On a busy machine callers may come one after the other, but not each time.
    wait::until("a sync for sixteen events on the average", LONG, async || {
        let before = value("eventbus_outbox_syncs_total");
        let call = |caller: usize| {
            let bus = bus.clone();
            async move { publish(&bus, caller * EACH..(caller + 1) * EACH).await }
        };
        futures::future::join_all((0..CALLERS).map(call)).await;
        sent(&bus).await;
        events += EVENTS;
        let syncs = value("eventbus_outbox_syncs_total") - before;
        (EVENTS / syncs >= 16).then_some(())
    })
    .await;
    assert_eq!(value("eventbus_outbox_events_total"), events);
    assert_eq!(value("eventbus_outbox_sent_total"), events);
    assert_eq!(value("eventbus_outbox_waiting_events"), 0);
}
