//! The bus on a real server: creating, declaring and forgetting groups, and what it tells of them.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::config::BusConfig;
use eventbus::observe::LagSource;
use eventbus::{EntryId, Error, GroupStatus, Start, StreamKey, chain};
use tests::event_bus::{bus_on, bus_with_permissions, connect, group, is_late, publish};
use tests::redis::RedisServer;
use tests::subscriber::{command, xadd};

const OWNED: &str = r#"{"v":1,"cluster":"c1","namespace":"shop","name":"orders","uid":"u-1"}"#;

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

/// What stands in `{s}:eventbus:groups` of group `g`.
async fn declared(conn: &mut Connection) -> Option<String> {
    redis::cmd("HGET").arg("{s}:eventbus:groups").arg("g").query_async(conn).await.unwrap()
}

async fn declare(conn: &mut Connection, field: &str) {
    let mut command = redis::cmd("HSET");
    command.arg("{s}:eventbus:groups").arg("g").arg(field).exec_async(conn).await.unwrap();
}

#[tokio::test]
async fn a_group_is_created_once_and_then_stays_where_it_is() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    assert!(bus.create_consumer_group(&group("g"), Start::Id(id(5))).await.unwrap());
    assert!(!bus.create_consumer_group(&group("g"), Start::default()).await.unwrap());
    let info = bus.get_consumer_group_info(&group("g")).await.unwrap().unwrap();
    assert_eq!(info.last_delivered, id(5));
}

#[tokio::test]
async fn a_created_group_is_declared_and_forgetting_it_leaves_the_group() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    assert_eq!(declared(&mut conn).await.as_deref(), Some(r#"{"v":1}"#));
    assert!(bus.forget_consumer_group(&group("g")).await.unwrap());
    assert_eq!(declared(&mut conn).await, None);
    assert!(!bus.forget_consumer_group(&group("g")).await.unwrap());
    assert!(bus.get_consumer_group_info(&group("g")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_group_that_stood_already_is_declared_too() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    command(&mut conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    assert!(!bus.create_consumer_group(&group("g"), Start::default()).await.unwrap());
    assert_eq!(declared(&mut conn).await.as_deref(), Some(r#"{"v":1}"#));
}

#[tokio::test]
async fn the_declaration_of_a_resource_is_neither_overwritten_nor_forgotten() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    declare(&mut conn, OWNED).await;
    assert!(bus.create_consumer_group(&group("g"), Start::default()).await.unwrap());
    let error = bus.forget_consumer_group(&group("g")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "group g on stream s is declared by the EventConsumerGroup shop/orders of cluster c1: \
         delete that resource instead"
    );
    let Error::OwnedByResource { owner, .. } = error else { panic!("{error:?}") };
    assert_eq!(owner.uid, "u-1");
    assert_eq!(declared(&mut conn).await.as_deref(), Some(OWNED));
}

#[tokio::test]
async fn a_declaration_that_cannot_be_read_is_left_and_told_without_its_content() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    declare(&mut conn, "hunter2").await;
    let error = bus.forget_consumer_group(&group("g")).await.unwrap_err();
    assert_eq!(
        chain(&error),
        "field g of {s}:eventbus:groups does not declare a group: \
         not a declaration in JSON, at line 1, column 1"
    );
    assert_eq!(declared(&mut conn).await.as_deref(), Some("hunter2"));
}

#[tokio::test]
async fn a_group_is_created_also_where_declaring_it_is_not_allowed() {
    let server = RedisServer::start();
    let bus = bus_with_permissions(&server, &["+@stream", "+@scripting", "+exists"]).await;
    assert!(bus.create_consumer_group(&group("g"), Start::default()).await.unwrap());
    assert!(!bus.create_consumer_group(&group("g"), Start::default()).await.unwrap());
    assert_eq!(declared(&mut server.connection().await).await, None);
}

#[tokio::test]
async fn a_group_that_stands_is_no_error_while_redis_has_no_memory_to_declare_it() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    command(&mut conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    command(&mut conn, "CONFIG SET maxmemory 1").await;
    assert!(!bus.create_consumer_group(&group("g"), Start::default()).await.unwrap());
    let error = bus.create_consumer_group(&group("h"), Start::default()).await.unwrap_err();
    assert_eq!(error.code(), Some("OOM"), "{error:?}");
    assert_eq!(declared(&mut conn).await, None);
}

#[tokio::test]
async fn a_missing_stream_is_a_fact_and_its_groups_are_none() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let info = bus.get_stream_info().await.unwrap();
    assert!(!info.exists && info.groups.is_empty());
    assert_eq!((info.length, info.first_entry), (0, None));
    assert_eq!(bus.get_consumer_group_info(&group("g")).await.unwrap(), None);
}

#[tokio::test]
async fn the_stream_tells_its_numbers_its_ends_and_its_groups() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    for n in 1..=5 {
        command(&mut conn, &format!("XADD s {n}-0 type t payload 1")).await;
    }
    command(&mut conn, "XTRIM s MINID 3-0").await;
    command(&mut conn, "XGROUP CREATE s b 0").await;
    command(&mut conn, "XGROUP CREATE s a 0").await;
    let info = bus.get_stream_info().await.unwrap();
    assert_eq!((info.name.as_str(), info.exists), ("s", true));
    assert_eq!((info.length, info.entries_added), (3, 5));
    assert_eq!((info.first_entry, info.last_generated), (Some(id(3)), id(5)));
    assert_eq!(info.groups, ["a", "b"]);
}

#[tokio::test]
async fn a_group_tells_its_lag_its_pending_entries_and_who_has_them() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    for _ in 0..6 {
        xadd(&mut conn, "1").await;
    }
    command(&mut conn, "XGROUP CREATE s g 0").await;
    command(&mut conn, "XREADGROUP GROUP g c COUNT 4 STREAMS s >").await;
    command(&mut conn, "XADD {s}:dlq:g * type t payload 1").await;
    let info = bus.get_consumer_group_info(&group("g")).await.unwrap().unwrap();
    assert_eq!((info.name.as_str(), info.status), ("g", GroupStatus::Ok));
    assert_eq!((info.lag, info.pending, info.dead_letters), (Some(2), 4, Some(1)));
    assert!(info.oldest_age.is_some_and(|age| age < Duration::from_secs(3600)), "{info:?}");
    let consumers: Vec<_> =
        info.consumers.iter().map(|c| (c.name.as_str(), c.pending, c.live)).collect();
    assert_eq!(consumers, [("c", 4, true)]);
}

#[tokio::test]
async fn the_lag_is_right_also_after_trimming() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    for n in 1..=10 {
        command(&mut conn, &format!("XADD s {n}-0 type t payload 1")).await;
    }
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    command(&mut conn, "XREADGROUP GROUP g c COUNT 2 STREAMS s >").await;
    command(&mut conn, "XTRIM s MINID 6-0").await;
    let info = bus.get_consumer_group_info(&group("g")).await.unwrap().unwrap();
    assert_eq!((info.lag, info.lag_source), (Some(5), LagSource::Exact));
}

#[tokio::test]
async fn a_group_ahead_of_its_stream_says_so_and_knows_no_lag() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    command(&mut conn, "XADD s 5-0 type t payload 1").await;
    command(&mut conn, "XGROUP CREATE s g 9-0").await;
    let info = bus.get_consumer_group_info(&group("g")).await.unwrap().unwrap();
    assert_eq!((info.status, info.lag), (GroupStatus::AheadOfStream, None));
}

#[tokio::test]
async fn dead_letters_that_cannot_be_read_are_unknown_with_the_reason() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    command(&mut conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    command(&mut conn, "SET {s}:dlq:g text").await;
    let info = bus.get_consumer_group_info(&group("g")).await.unwrap().unwrap();
    assert_eq!((info.lag, info.dead_letters), (Some(0), None));
    assert!(info.problem.unwrap().contains("({s}:dlq:g)"));
}

#[tokio::test]
async fn looking_needs_no_right_to_write() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    command(&mut conn, "XGROUP CREATE s g 0").await;
    let bus = bus_with_permissions(&server, &["+@read", "+eval_ro", "+evalsha_ro", "+time"]).await;
    assert_eq!(bus.get_stream_info().await.unwrap().length, 1);
    let info = bus.get_consumer_group_info(&group("g")).await.unwrap().unwrap();
    assert_eq!(info.lag, Some(1));
}

#[tokio::test]
async fn a_stream_with_spaces_and_braces_in_its_name_works_like_any_other() {
    let server = RedisServer::start();
    for name in ["a b", "{tag}:s", "odd}{", "{}"] {
        let config = BusConfig::new(server.config(), StreamKey::new(name).unwrap());
        let bus = connect(config).await;
        assert!(bus.create_consumer_group(&group("g"), Start::default()).await.unwrap(), "{name}");
        let published = publish(&bus, "t", 1).await;
        let page = bus.get_events_since(&group("g"), EntryId::ZERO).await.unwrap();
        assert_eq!(page.events.last().map(|event| event.id()), Some(published));
        let entries = page.events.len() as u64;
        assert_eq!(bus.get_stream_info().await.unwrap().groups, ["g"]);
        let info = bus.get_consumer_group_info(&group("g")).await.unwrap().unwrap();
        assert_eq!(info.lag, Some(entries), "{name}");
        assert!(bus.forget_consumer_group(&group("g")).await.unwrap(), "{name}");
    }
}

#[tokio::test]
async fn calls_can_be_made_from_any_task() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let calls = async move {
        // A busy machine may be late, which is not what is tested.
        bus.ping().await.or_else(|error| if is_late(&error) { Ok(()) } else { Err(error) })?;
        bus.create_consumer_group(&group("g"), Start::default()).await?;
        bus.get_events_since(&group("g"), EntryId::ZERO).await?;
        bus.get_consumer_group_info(&group("g")).await?;
        bus.get_stream_info().await?;
        bus.forget_consumer_group(&group("g")).await
    };
    assert!(tokio::spawn(calls).await.unwrap().unwrap());
}
