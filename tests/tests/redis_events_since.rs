//! Peeking at the events of a stream on a real server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use eventbus::admin::Connection;
use eventbus::{EntryId, Unreadable};
use eventbus::{EventBus, EventPage, MAX_PAGE_BYTES};
use tests::event_bus::{bus_on, bus_with_permissions, group};
use tests::redis::RedisServer;
use tests::subscriber::command;

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

/// Adds events `from`-0 to `to`-0 of a type, whose payload is a text of `size` bytes.
async fn add(
    conn: &mut Connection,
    event_type: &str,
    ids: std::ops::RangeInclusive<u64>,
    size: usize,
) {
    let payload = format!("\"{}\"", "x".repeat(size));
    let mut batch = redis::pipe();
    for ms in ids {
        let fields = [("type", event_type), ("payload", &payload)];
        batch.cmd("XADD").arg("s").arg(format!("{ms}-0")).arg(&fields).ignore();
    }
    batch.query_async::<()>(conn).await.unwrap();
}

async fn declare(conn: &mut Connection, field: &str) {
    let mut command = redis::cmd("HSET");
    command.arg("{s}:eventbus:groups").arg("g").arg(field).exec_async(conn).await.unwrap();
}

fn ids(page: &EventPage) -> Vec<u64> {
    page.events.iter().map(|event| event.id().ms).collect()
}

/// Every page from the stream's beginning on.
async fn pages(bus: &EventBus) -> Vec<EventPage> {
    let mut pages = vec![bus.get_events_since(&group("g"), EntryId::ZERO).await.unwrap()];
    while pages[pages.len() - 1].more {
        let last = pages[pages.len() - 1].next;
        pages.push(bus.get_events_since(&group("g"), last).await.unwrap());
        assert!(pages[pages.len() - 1].next > last, "it goes on");
    }
    pages
}

#[tokio::test]
async fn the_events_after_an_id_come_in_their_order_without_it() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "a", 1..=4, 1).await;
    let page = bus.get_events_since(&group("g"), id(2)).await.unwrap();
    assert_eq!(ids(&page), [3, 4]);
    assert_eq!((page.more, page.next), (false, id(4)));
    assert_eq!(page.events[0].payload().as_str(), r#""x""#);
}

#[tokio::test]
async fn of_a_declared_group_only_its_types_come() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "order.paid", 1..=1, 1).await;
    add(&mut conn, "user.login", 2..=2, 1).await;
    add(&mut conn, "order.sent", 3..=3, 1).await;
    declare(&mut conn, r#"{"v":1,"uid":"u","types":["order.*"]}"#).await;
    let page = bus.get_events_since(&group("g"), EntryId::ZERO).await.unwrap();
    assert_eq!(ids(&page), [1, 3]);
    let page = bus.get_events_since(&group("other"), EntryId::ZERO).await.unwrap();
    assert_eq!(ids(&page), [1, 2, 3]);
}

#[tokio::test]
async fn a_peek_moves_nothing_and_needs_no_right_to_write() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    add(&mut conn, "a", 1..=5, 1).await;
    command(&mut conn, "XGROUP CREATE s g 0").await;
    command(&mut conn, "XREADGROUP GROUP g c COUNT 2 STREAMS s >").await;
    let before =
        [command(&mut conn, "XINFO GROUPS s").await, command(&mut conn, "XPENDING s g").await];
    let bus = bus_with_permissions(&server, &["+xrange", "+hget"]).await;
    let page = bus.get_events_since(&group("g"), EntryId::ZERO).await.unwrap();
    assert_eq!(ids(&page), [1, 2, 3, 4, 5]);
    assert_eq!(command(&mut conn, "XINFO GROUPS s").await, before[0]);
    assert_eq!(command(&mut conn, "XPENDING s g").await, before[1]);
}

#[tokio::test]
async fn neither_the_group_nor_the_stream_need_exist() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    for since in [EntryId::ZERO, id(7), EntryId::MAX] {
        let page = bus.get_events_since(&group("g"), since).await.unwrap();
        assert_eq!((ids(&page), page.more, page.next), (vec![], false, since));
    }
}

#[tokio::test]
async fn after_the_last_id_that_can_be_nothing_follows() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "a", 1..=1, 1).await;
    let last = EntryId::MAX;
    command(&mut conn, &format!("XADD s {last} type a payload 1")).await;
    let page = bus.get_events_since(&group("g"), id(1)).await.unwrap();
    assert_eq!((page.events.len(), page.more, page.next), (1, false, last));
    assert_eq!(bus.get_events_since(&group("g"), last).await.unwrap().events.len(), 0);
}

#[tokio::test]
async fn what_is_no_event_is_listed_and_stops_nothing() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "a", 1..=1, 1).await;
    command(&mut conn, "XADD s 2-0 payload 1").await;
    command(&mut conn, "XADD s 3-0 type a payload {").await;
    let mut odd = redis::cmd("XADD");
    odd.arg("s").arg("4-0").arg("type").arg(&[0xff_u8][..]).arg("payload").arg(1);
    odd.exec_async(&mut conn).await.unwrap();
    add(&mut conn, "a", 5..=5, 1).await;
    let page = bus.get_events_since(&group("g"), EntryId::ZERO).await.unwrap();
    assert_eq!(ids(&page), [1, 5]);
    let unreadable: Vec<u64> = page.unreadable.iter().map(|(id, _)| id.ms).collect();
    assert_eq!(unreadable, [2, 3, 4]);
    assert_eq!(page.unreadable[0].1, Unreadable::Missing("type"));
    assert_eq!(page.unreadable[2].1, Unreadable::NotUtf8("type"));
}

#[tokio::test]
async fn many_events_come_in_pages_of_a_thousand_each_event_once() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "a", 1..=2_000, 1).await;
    let pages = pages(&bus).await;
    assert_eq!(pages.iter().map(|page| page.events.len()).collect::<Vec<_>>(), [1_000, 1_000]);
    let all: Vec<u64> = pages.iter().flat_map(ids).collect();
    assert_eq!(all, (1..=2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn large_events_come_in_pages_of_eight_mebibytes() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "a", 1..=20, 1_000_000).await;
    let pages = pages(&bus).await;
    assert_eq!(pages.iter().map(|page| page.events.len()).collect::<Vec<_>>(), [8, 8, 4]);
}

#[tokio::test]
async fn an_event_larger_than_a_page_comes_alone() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "a", 1..=3, 1).await;
    add(&mut conn, "a", 4..=4, 2 * MAX_PAGE_BYTES).await;
    add(&mut conn, "a", 5..=6, 1).await;
    let listed: Vec<Vec<u64>> = pages(&bus).await.iter().map(ids).collect();
    assert_eq!(listed, [vec![1, 2, 3], vec![4], vec![5, 6]]);
}

#[tokio::test]
async fn a_stretch_of_unwanted_types_is_passed_in_pages_that_are_empty() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "a", 1..=10_050, 1).await;
    add(&mut conn, "b", 10_051..=10_051, 1).await;
    declare(&mut conn, r#"{"types":["b"]}"#).await;
    let pages = pages(&bus).await;
    assert_eq!(pages.iter().map(ids).collect::<Vec<_>>(), [vec![], vec![10_051]]);
    assert_eq!(pages[0].next, id(10_000));
}

#[tokio::test]
async fn a_declaration_that_cannot_be_read_is_an_error_and_not_all_types() {
    let server = RedisServer::start();
    let (bus, mut conn) = (bus_on(&server).await, server.connection().await);
    add(&mut conn, "a", 1..=1, 1).await;
    for field in [r#"{"types":["!"]}"#, "[", "1"] {
        declare(&mut conn, field).await;
        let error = bus.get_events_since(&group("g"), EntryId::ZERO).await.unwrap_err();
        assert_eq!(error.to_string(), "field g of {s}:eventbus:groups does not declare a group");
    }
}
