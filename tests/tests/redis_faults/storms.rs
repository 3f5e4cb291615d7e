//! Connections end, one after the other or all at once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use eventbus::config::BusConfig;
use eventbus::{Answer, EventBus, NewEvent, Payload};
use tests::letters;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, drained};
use tests::wait;
use tokio_util::sync::CancellationToken;

use crate::flow::{Flow, proxy_to, quick, through};

#[tokio::test]
async fn f22_a_storm_of_resets_loses_nothing() {
    let server = RedisServer::start();
    let proxy = proxy_to(&server).await;
    let config = BusConfig::new(through(&proxy), quick().stream);
    let bus = EventBus::connect(config).await.unwrap();
    let consumers = [(); 2].map(|()| {
        Running::start(through(&proxy), quick(), async |_| {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Answer::Done
        })
    });

    // Something is under way whenever the connections end.
    let end = CancellationToken::new();
    let publishers = (0..4).map(|number| publish_until(end.clone(), bus.clone(), number));
    let publishers: Vec<_> = publishers.map(tokio::spawn).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    proxy.cut();
    let mut conn = server.connection().await;
    let before: usize = redis::cmd("XLEN").arg("s").query_async(&mut conn).await.unwrap();
    for _ in 1..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.cut();
    }
    end.cancel();
    let confirmed = futures::future::join_all(publishers).await;
    let confirmed: BTreeSet<_> = confirmed.into_iter().flat_map(Result::unwrap).collect();
    // Those of the first moments are no storm's.
    assert!(confirmed.len() > before + 50, "{} after {before}", confirmed.len());

    wait::until("what was confirmed is handled", LONG, async || {
        let seen = consumers.iter().flat_map(|consumer| consumer.seen.times());
        let handled: BTreeSet<_> = seen.map(|(payload, _)| payload).collect();
        confirmed.is_subset(&handled).then_some(())
    })
    .await;
    drained(&mut conn).await;
    assert_eq!(letters::all(&mut conn).await, []);
}

/// Publishes one event after the other until `end`, and answers the payloads of those that were confirmed.
async fn publish_until(end: CancellationToken, bus: EventBus, number: u64) -> Vec<String> {
    let mut confirmed = Vec::new();
    for payload in (number * 1_000_000..).take_while(|_| !end.is_cancelled()) {
        match bus.publish_event(NewEvent::new("t", Payload::from_value(&payload).unwrap())).await {
            Ok(_) => confirmed.push(payload.to_string()),
            Err(error) => {
                assert!(error.is_transient(), "{error:?}");
                // An open breaker refuses at once: who asked it in a loop would let nobody else run.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    confirmed
}

#[tokio::test]
async fn f24_when_all_clients_are_killed_events_are_handled_again_within_a_second() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    let mut spans = Vec::new();
    for _ in 0..5 {
        command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
        let began = now();
        flow.publish(2).await;
        flow.all_are_handled().await;
        spans.push(began.elapsed());
    }
    // The machine may be busy, but not each time.
    assert!(spans.iter().any(|span| *span <= Duration::from_secs(1)), "{spans:?}");
    assert!(spans.iter().all(|span| *span <= Duration::from_secs(5)), "{spans:?}");
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn now() -> Instant {
    Instant::now()
}
