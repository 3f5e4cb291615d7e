//! The hard cap: refusing events, and dropping the oldest ones.

use std::collections::BTreeMap;
use std::time::Instant;

use eventbus::config::{BusConfig, Overflow, PUBLISH_TIMEOUT, TrimMode};
use eventbus::{Error, EventBus, Metrics, admin};
use prometheus_client::registry::Registry;
use tests::event_bus::{connect_with_metrics, in_time};
use tests::subscriber::LONG;
use tests::wait;

use super::{Fixture, capped, publish};

/// Publishes until the stream is full, and answers what a publish is told then. A busy machine may let some time out.
async fn filled(bus: &EventBus) -> Error {
    wait::until("it is full", LONG, async || {
        let error = bus.publish("t", &1, None).await.err()?;
        matches!(error, Error::StreamFull { .. }).then_some(error)
    })
    .await
}

#[tokio::test]
async fn f34_a_full_stream_refuses_events_with_its_length_and_its_cap_until_there_is_room() {
    let mut s = Fixture::new().await;
    s.group("g", 0).await;
    let bus = s.bus(&capped(TrimMode::Acked, 500, Overflow::Reject)).await;
    let error = filled(&bus).await;
    let length = s.length().await;
    assert_eq!(
        error.to_string(),
        format!("stream s is full: it has {length} entries, the hard cap is 500")
    );
    assert!(error.is_transient());
    // The group finishes with all of it.
    s.run(&format!("XREADGROUP GROUP g c COUNT {length} NOACK STREAMS s >")).await;
    wait::until("there is room", LONG, async || bus.publish("t", &1, None).await.ok()).await;
    assert!(s.length().await < 300, "what was finished is trimmed");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a stalled machine shows in the time that passes")]
async fn a_stream_that_the_first_publish_fills_takes_no_second_one() {
    let mut s = Fixture::new().await;
    // Where a busy machine lets a look at the length time out, more may pass until the next one.
    let taken = wait::until("a round without a stall", LONG, async || {
        s.run("DEL s").await;
        s.add(1, 499).await;
        let bus = s.bus(&capped(TrimMode::None, 500, Overflow::Reject)).await;
        let (began, mut taken) = (Instant::now(), 0);
        while bus.publish("t", &1, None).await.is_ok() {
            taken += 1;
        }
        (began.elapsed() < PUBLISH_TIMEOUT / 2).then_some(taken)
    })
    .await;
    assert_eq!((taken, s.length().await), (1, 500));
    // It stays so for every other bus from its first event on.
    let other = s.bus(&capped(TrimMode::None, 500, Overflow::Reject)).await;
    let error = in_time(async || other.publish("t", &1, None).await).await.unwrap_err();
    assert!(matches!(error, Error::StreamFull { cap: 500, .. }), "{error:?}");
}

#[tokio::test]
async fn the_cap_holds_though_the_stream_cannot_be_trimmed() {
    let mut s = Fixture::new().await;
    s.add(1, 499).await;
    s.run("SET {s}:eventbus:groups x").await;
    let bus = s.bus(&capped(TrimMode::Acked, 500, Overflow::Reject)).await;
    let error = filled(&bus).await;
    assert!(matches!(error, Error::StreamFull { cap: 500, .. }), "{error:?}");
    for _ in 0..50 {
        assert!(bus.publish("t", &1, None).await.is_err(), "it stays full");
    }
}

#[tokio::test]
async fn what_another_publisher_dropped_meanwhile_is_not_dropped_twice() {
    let mut s = Fixture::new().await;
    s.add(1, 500).await;
    let dropped = admin::drop_oldest(&mut s.conn, &s.stream, 100, 501).await.unwrap();
    assert_eq!((dropped.removed, dropped.length), (0, 500));
    let dropped = admin::drop_oldest(&mut s.conn, &s.stream, 100, 500).await.unwrap();
    assert_eq!((dropped.removed, dropped.length), (100, 400));
}

#[tokio::test]
async fn of_large_entries_few_are_dropped_by_one_script() {
    let mut s = Fixture::new().await;
    let large = "x".repeat(1024 * 1024);
    for _ in 0..40 {
        let mut add = redis::cmd("XADD");
        add.arg("s").arg("*").arg("f").arg(&large).exec_async(&mut s.conn).await.unwrap();
    }
    let dropped = admin::drop_oldest(&mut s.conn, &s.stream, 30, 0).await.unwrap();
    assert!((1..=16).contains(&dropped.removed), "{dropped:?}");
}

#[tokio::test]
async fn at_the_cap_finished_events_make_room_before_anything_is_refused() {
    let mut s = Fixture::new().await;
    s.add(1, 600).await;
    s.group("g", 600).await;
    let bus = s.bus(&capped(TrimMode::Acked, 500, Overflow::Reject)).await;
    let again = publish(&bus, 1).await;
    assert!((101..=101 + again).contains(&s.length().await));
}

#[tokio::test]
async fn where_the_oldest_are_dropped_each_loss_is_counted_by_group() {
    let mut s = Fixture::new().await;
    s.add(1, 1_000).await;
    s.group("done", 1_000).await;
    s.group("half", 150).await;
    s.group("none", 0).await;
    // Of what is dropped, 50 are pending with it and 50 acknowledged.
    s.run("XREADGROUP GROUP none c COUNT 100 STREAMS s >").await;
    for n in 1..=50 {
        s.run(&format!("XACK s none {n}-0")).await;
    }
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let config = BusConfig::new(s.server.config(), s.stream.clone()).with_retention(capped(
        TrimMode::None,
        800,
        Overflow::DropOldest,
    ));
    // It is over the cap when the bus connects.
    let bus = connect_with_metrics(config, &metrics).await;
    wait::until("it drops", LONG, async || (s.length().await < 900).then_some(())).await;
    assert_eq!(s.length().await, 800);
    let expected = [("half".to_owned(), 50), ("none".to_owned(), 150)];
    wait::until("it counts", LONG, async || (s.lost().await.len() == 2).then_some(())).await;
    assert_eq!(s.lost().await, BTreeMap::from(expected));
    let expected = r#"eventbus_dropped_entries_total{stream="s",group="none"} 150"#;
    wait::until("the metrics tell", LONG, async || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.contains(expected).then_some(())
    })
    .await;
    let pending: redis::streams::StreamPendingReply =
        redis::cmd("XPENDING").arg("s").arg("none").query_async(&mut s.conn).await.unwrap();
    assert_eq!(pending.count(), 0, "nothing pending is left of what was dropped");
    drop(bus);
}

#[tokio::test]
async fn while_events_flow_in_the_stream_stays_near_its_cap() {
    let mut s = Fixture::new().await;
    s.group("g", 0).await;
    let bus = s.bus(&capped(TrimMode::Acked, 1_000, Overflow::DropOldest)).await;
    publish(&bus, 3_000).await;
    wait::until("it drops", LONG, async || {
        publish(&bus, 1).await;
        (s.length().await < 1_100).then_some(())
    })
    .await;
    let (length, lost) = (s.length().await, s.lost().await);
    let read = bus_published(&mut s).await;
    assert_eq!(
        lost["g"],
        read - length,
        "whatever is gone was lost to the group that read nothing"
    );
}

/// Entries ever added.
async fn bus_published(s: &mut Fixture) -> u64 {
    let mut command = redis::cmd("XINFO");
    command.arg("STREAM").arg("s");
    let info: redis::Value = command.query_async(&mut s.conn).await.unwrap();
    let info: BTreeMap<String, redis::Value> = redis::from_redis_value(info).unwrap();
    redis::from_redis_value(info["entries-added"].clone()).unwrap()
}
