//! A stream whose last ID is the largest possible one, so that nothing can be added to it.

use std::time::Duration;

use eventbus::config::{BusConfig, Durability};
use eventbus::{EventBus, StreamKey, chain};
use tests::event_bus::connect;
use tests::outbox::{self, directory, first_ids, publish};
use tests::redis::RedisServer;
use tests::subscriber::{LONG, command};
use tests::wait;

const WAY_OUT: &str = "use another stream";

/// A server with an exhausted stream `s`.
async fn exhausted() -> RedisServer {
    let server = RedisServer::start();
    let last = format!("XADD s {max}-{max} type t payload 1 id last", max = u64::MAX);
    command(&mut server.connection().await, &last).await;
    server
}

async fn assert_permanent(bus: &EventBus) {
    let error = wait::until("the event is refused", LONG, async || {
        let error = bus.publish("t", &1, None).await.unwrap_err();
        error.code().is_some().then_some(error)
    })
    .await;
    assert!(!error.is_transient(), "{error:?}");
    assert!(chain(&error).contains(WAY_OUT), "{}", chain(&error));
}

#[tokio::test]
async fn case_17_a_publish_to_an_exhausted_stream_is_refused_for_good_with_the_way_out() {
    let server = exhausted().await;
    let config = BusConfig::new(server.config(), StreamKey::new("s").unwrap());
    assert_permanent(&connect(config).await).await;
}

#[tokio::test]
async fn case_17_so_is_a_publish_that_waits_for_confirmations() {
    let server = exhausted().await;
    let config = BusConfig::new(server.config(), StreamKey::new("s").unwrap());
    let durability = Durability::Replicated(std::num::NonZeroU8::MIN);
    assert_permanent(&connect(config.with_durability(durability)).await).await;
}

#[tokio::test]
async fn case_17_the_outbox_keeps_its_events_in_place_until_the_stream_is_replaced() {
    let (server, dir) = (exhausted().await, directory());
    let mut conn = server.connection().await;
    let bus = outbox::open(outbox::config(&server, dir.path())).await;
    publish(&bus, 0..3).await;
    command(&mut conn, "CONFIG RESETSTAT").await;
    wait::until("it is refused again and again", LONG, async || {
        let mut info = redis::cmd("INFO");
        let stats: String = info.arg("errorstats").query_async(&mut conn).await.unwrap();
        let count = stats.lines().find_map(|line| line.strip_prefix("errorstat_ERR:count="));
        count.is_some_and(|count| count.parse::<u64>().unwrap() >= 18).then_some(())
    })
    .await;
    assert_eq!(bus.flush_outbox(Duration::ZERO).await, 3);
    assert_eq!(bus.set_aside_events().await.unwrap(), []);
    command(&mut conn, "DEL s").await;
    assert_eq!(bus.flush_outbox(LONG).await, 0);
    assert_eq!(first_ids(&mut conn).await, ["0", "1", "2"]);
}
