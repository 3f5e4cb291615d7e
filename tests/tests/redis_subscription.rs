//! Subscribing by the bus, on a real server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::config::BusConfig;
use eventbus::{Answer, ConsumerName, Delivery, Metrics, Start, StreamKey, TypeFilter};
use eventbus::{EventBus, GroupInfo, Subscription};
use prometheus_client::registry::Registry;
use tests::event_bus::{bus_on, connect_with_metrics, group};
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Seen, command};
use tests::wait;

/// A handler that notes what it gets and answers with what `answer` makes of it.
fn subscribe<F>(
    bus: &EventBus,
    types: &[&str],
    answer: impl Fn(Arc<Delivery>) -> F + Send + Sync + 'static,
) -> (Subscription, Seen)
where
    F: Future<Output = Answer> + Send + 'static,
{
    let (seen, types) = (Seen::default(), TypeFilter::parse(types.iter().copied()).unwrap());
    let (notes, consumer) = (seen.clone(), ConsumerName::new("c").unwrap());
    let handler = move |delivery: Arc<Delivery>| {
        notes.note(&delivery);
        answer(delivery)
    };
    (bus.subscribe(&group("g"), &consumer, types, handler), seen)
}

async fn done(_: Arc<Delivery>) -> Answer {
    Answer::Done
}

/// Adds an event exactly once, which a publish that is made again where it was late cannot promise.
async fn add(conn: &mut Connection, event_type: &str, payload: usize) {
    tests::consumer::publish(conn, event_type, &payload.to_string()).await;
}

async fn info(bus: &EventBus) -> GroupInfo {
    bus.get_consumer_group_info(&group("g")).await.unwrap().unwrap()
}

/// Waits until the group has got everything and settled it.
async fn settled(bus: &EventBus, limit: Duration) {
    wait::until("all is settled", limit, async || {
        let info = bus.get_consumer_group_info(&group("g")).await.ok()??;
        (info.lag == Some(0) && info.pending == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_are_settled_as_the_handler_answers_and_the_end_leaves_the_group() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    let (subscription, seen) = subscribe(&bus, &[], async |delivery| {
        match (delivery.event.event_type(), delivery.attempt) {
            ("retry", 1) => {
                Answer::Retry { after: Some(Duration::ZERO), reason: "not yet".to_owned() }
            }
            ("dead", _) => Answer::Dead { reason: "never".to_owned() },
            _ => Answer::Done,
        }
    });
    let mut conn = server.connection().await;
    for (payload, event_type) in ["done", "retry", "dead"].iter().enumerate() {
        add(&mut conn, event_type, payload).await;
    }
    settled(&bus, LONG).await;
    let mut all = seen.all();
    all.sort();
    let of = |payload: &str, attempt| (payload.to_owned(), attempt);
    assert_eq!(all, [of("0", 1), of("1", 1), of("1", 2), of("2", 1)]);
    let info_before = info(&bus).await;
    assert_eq!(info_before.dead_letters, Some(1));
    assert!(info_before.consumers[0].live && info_before.consumers[0].name.starts_with("c/"));
    assert!(subscription.readiness().has_connected());
    subscription.stop().await.unwrap();
    assert_eq!(info(&bus).await.consumers, []);
}

#[tokio::test]
async fn events_of_other_types_are_acknowledged_unseen() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    let mut conn = server.connection().await;
    for (payload, event_type) in ["a.b", "other", "a.c"].iter().enumerate() {
        add(&mut conn, event_type, payload).await;
    }
    let (subscription, seen) = subscribe(&bus, &["a.*"], done);
    settled(&bus, LONG).await;
    assert_eq!(seen.times().into_keys().collect::<Vec<_>>(), ["0", "2"]);
    subscription.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_panics_gets_the_event_again() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    let (subscription, seen) = subscribe(&bus, &[], async |delivery| {
        assert!(delivery.attempt > 1, "the first attempt fails");
        Answer::Done
    });
    add(&mut server.connection().await, "t", 1).await;
    settled(&bus, LONG).await;
    assert_eq!(seen.all(), [("1".to_owned(), 1), ("1".to_owned(), 2)]);
    subscription.stop().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_never_returns_is_cut_off_and_holds_up_no_other_event() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    let (subscription, seen) = subscribe(&bus, &[], async |delivery| {
        if delivery.event.payload().as_str() == "0" && delivery.attempt == 1 {
            std::future::pending::<()>().await;
        }
        Answer::Done
    });
    let mut conn = server.connection().await;
    for n in 0..20 {
        add(&mut conn, "t", n).await;
    }
    wait::until("the others are settled", LONG, async || {
        (info(&bus).await.pending == 1 && seen.times().len() == 20).then_some(())
    })
    .await;
    assert_eq!(seen.times()["0"], 1);
    // The limit of the default settings is 30 s.
    settled(&bus, 3 * LONG).await;
    assert_eq!(seen.times()["0"], 2);
    subscription.stop().await.unwrap();
}

#[tokio::test]
async fn dropping_a_subscription_cuts_its_handlers_off_and_leaves_the_event_pending() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    let (subscription, seen) = subscribe(&bus, &[], async |_| std::future::pending().await);
    add(&mut server.connection().await, "t", 1).await;
    wait::until("the handler has it", LONG, async || seen.all().pop()).await;
    drop(subscription);
    wait::until("its connections are closed", LONG, async || {
        let mut conn = server.connection().await;
        let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut conn).await.ok()?;
        (!clients.contains("cmd=xreadgroup")).then_some(())
    })
    .await;
    let info = info(&bus).await;
    assert_eq!((info.pending, info.consumers.len()), (1, 1));
}

#[tokio::test]
async fn a_group_that_this_bus_did_not_create_is_waited_for() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    add(&mut server.connection().await, "t", 1).await;
    let (subscription, seen) = subscribe(&bus, &[], done);
    let mut conn = server.connection().await;
    wait::until("it has looked for the group", LONG, async || {
        let stats = redis::cmd("INFO").arg("errorstats").query_async(&mut conn).await;
        stats.ok().filter(|stats: &String| stats.contains("errorstat_NOGROUP"))
    })
    .await;
    assert_eq!(bus.get_consumer_group_info(&group("g")).await.unwrap(), None);
    assert!(!subscription.readiness().has_connected());
    command(&mut conn, "XGROUP CREATE s g 0").await;
    settled(&bus, LONG).await;
    assert_eq!(seen.all(), [("1".to_owned(), 1)]);
    subscription.stop().await.unwrap();
}

#[tokio::test]
async fn a_group_lost_before_anybody_subscribed_is_made_again_without_passing_events_over() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.create_consumer_group(&group("g"), Start::Latest).await.unwrap();
    command(&mut server.connection().await, "XGROUP DESTROY s g").await;
    add(&mut server.connection().await, "t", 1).await;
    // A clone knows what the other one created.
    let (subscription, seen) = subscribe(&bus.clone(), &[], done);
    wait::until("the event arrives", LONG, async || seen.all().pop()).await;
    settled(&bus, LONG).await;
    subscription.stop().await.unwrap();
}

#[tokio::test]
async fn a_forgotten_group_is_not_made_again() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    bus.forget_consumer_group(&group("g")).await.unwrap();
    let mut conn = server.connection().await;
    command(&mut conn, "XGROUP DESTROY s g").await;
    let (subscription, _seen) = subscribe(&bus, &[], done);
    wait::until("it has looked for the group", LONG, async || {
        let stats = redis::cmd("INFO").arg("errorstats").query_async(&mut conn).await;
        stats.ok().filter(|stats: &String| stats.contains("errorstat_NOGROUP"))
    })
    .await;
    assert_eq!(bus.get_consumer_group_info(&group("g")).await.unwrap(), None);
    drop(subscription);
}

#[tokio::test]
async fn a_subscription_counts_in_the_metrics_of_its_bus() {
    let server = RedisServer::start();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let config = BusConfig::new(server.config(), StreamKey::new("s").unwrap());
    let bus = connect_with_metrics(config, &metrics).await;
    bus.create_consumer_group(&group("g"), Start::default()).await.unwrap();
    let (subscription, _seen) = subscribe(&bus, &[], done);
    add(&mut server.connection().await, "t", 1).await;
    settled(&bus, LONG).await;
    subscription.stop().await.unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = r#"eventbus_consumed_total{stream="s",group="g",outcome="ack"} 1"#;
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[tokio::test]
async fn a_key_of_another_type_is_tried_again_until_it_is_a_stream() {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let mut conn = server.connection().await;
    command(&mut conn, "SET s text").await;
    let (subscription, seen) = subscribe(&bus, &[], done);
    wait::until("it has tried", LONG, async || {
        let stats = redis::cmd("INFO").arg("errorstats").query_async(&mut conn).await;
        stats.ok().filter(|stats: &String| stats.contains("errorstat_WRONGTYPE"))
    })
    .await;
    assert!(!subscription.readiness().has_connected());
    command(&mut conn, "DEL s").await;
    command(&mut conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    add(&mut conn, "t", 1).await;
    settled(&bus, LONG).await;
    assert_eq!(seen.all(), [("1".to_owned(), 1)]);
    subscription.stop().await.unwrap();
}
