//! Connections end, one after the other or all at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eventbus::config::BusConfig;
use eventbus::{Answer, EventBus, NewEvent, Payload};
use tests::event_bus::connect;
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
    let bus = connect(BusConfig::new(through(&proxy), quick().stream)).await;
    let consumers = [(); 2].map(|()| {
        Running::start(through(&proxy), quick(), async |_| {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Answer::Done
        })
    });

    // Something is under way whenever the connections end.
    let (end, count) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let publishers = (0..4)
        .map(|number| tokio::spawn(publish_until(end.clone(), bus.clone(), number, count.clone())));
    let publishers: Vec<_> = publishers.collect();
    for _ in 0..5 {
        for _ in 0..20 {
            // The time between two cuts is part of the story, not a wait for something.
            tokio::time::sleep(Duration::from_millis(50)).await;
            proxy.cut();
        }
        // The storm abates, so that something comes through on a busy machine too.
        let before = count.load(Ordering::Relaxed);
        wait::until("events are confirmed", LONG, async || {
            (count.load(Ordering::Relaxed) >= before + 5).then_some(())
        })
        .await;
    }
    end.cancel();
    let confirmed = wait::within("the publishers end", LONG, futures::future::join_all(publishers));
    let confirmed: BTreeSet<_> = confirmed.await.into_iter().flat_map(Result::unwrap).collect();
    let mut conn = server.connection().await;

    wait::until("what was confirmed is handled", LONG, async || {
        let seen = consumers.iter().flat_map(|consumer| consumer.seen.times());
        let handled: BTreeSet<_> = seen.map(|(payload, _)| payload).collect();
        confirmed.is_subset(&handled).then_some(())
    })
    .await;
    drained(&mut conn).await;
    assert_eq!(letters::all(&mut conn).await, []);
}

/// Publishes one event after the other until `end`, and answers the payloads of those that were confirmed, which it also
/// counts.
async fn publish_until(
    end: CancellationToken,
    bus: EventBus,
    number: u64,
    count: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut confirmed = Vec::new();
    for payload in (number * 1_000_000..).take_while(|_| !end.is_cancelled()) {
        match bus.publish_event(NewEvent::new("t", Payload::from_value(&payload).unwrap())).await {
            Ok(_) => {
                confirmed.push(payload.to_string());
                count.fetch_add(1, Ordering::Relaxed);
            }
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
async fn f24_when_all_clients_are_killed_events_are_handled_again_soon() {
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
    // It takes no second; the machine may be busy, but not each time.
    assert!(spans.iter().any(|span| *span <= Duration::from_secs(5)), "{spans:?}");
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn now() -> Instant {
    Instant::now()
}
