//! Redis cannot be reached, or hangs: publishers do not hang with it.

use std::time::{Duration, Instant};

use eventbus::{Error, EventBus, NewEvent, Payload};
use futures::FutureExt;
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

use crate::flow::Flow;

/// A publish that failed: how long it took, and why.
type Failure = (Duration, &'static str);

fn event() -> NewEvent {
    NewEvent::new("t", Payload::from_value(&0).unwrap())
}

/// A publish that fails by its own limit: without it, it would wait as long as Redis is away.
async fn failure(bus: &EventBus) -> Failure {
    let began = now();
    let published = wait::within("a publish fails", LONG, bus.publish_event(event())).await;
    let error = published.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    (began.elapsed(), error.label())
}

async fn failures(bus: &EventBus, count: usize) -> Vec<Failure> {
    let mut failures = Vec::new();
    for _ in 0..count {
        failures.push(failure(bus).await);
    }
    failures
}

/// Publishes for a while, which the breaker refuses at once, that is without waiting for anything, but for a probe a
/// second.
async fn assert_refused_at_once(bus: &EventBus) {
    let (began, mut refused, mut probes) = (now(), 0, Vec::new());
    let publish = async || {
        let mut publish = Box::pin(bus.publish_event(event()));
        match (&mut publish).now_or_never() {
            Some(Err(Error::BreakerOpen { .. })) => refused += 1,
            Some(probe) => probes.push(probe.unwrap_err().label()),
            None => probes.push(publish.await.unwrap_err().label()),
        }
        (refused > 20 && probes.len() > 2).then_some(())
    };
    wait::until("publishes are refused, and probes let through", LONG, publish).await;
    let seconds = began.elapsed().as_secs();
    assert!(probes.len() as u64 <= seconds + 1, "{probes:?} in {seconds} s");
}

#[tokio::test]
async fn f48_while_redis_is_down_publishes_fail_in_time_and_from_the_sixth_on_at_once() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes"]);
    let mut flow = Flow::start(server.config()).await;
    server.stop();
    let first = failures(&flow.bus, 5).await;
    assert_ne!(first[0].1, "breaker_open", "{first:?}");
    assert_eq!(failure(&flow.bus).await.1, "breaker_open", "{first:?}");
    assert_refused_at_once(&flow.bus).await;
    server.restart();
    flow.publish(5).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f48_while_redis_hangs_publishes_wait_for_an_answer_and_from_the_sixth_on_not_at_all() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    server.pause();
    let first = failures(&flow.bus, 5).await;
    assert!(first[0].0 >= Duration::from_millis(150), "it waits for an answer: {first:?}");
    assert!(first.iter().all(|(_, label)| *label != "breaker_open"), "{first:?}");
    assert_eq!(failure(&flow.bus).await.1, "breaker_open", "{first:?}");
    assert_refused_at_once(&flow.bus).await;
    server.resume();
    flow.publish(5).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f48_while_redis_hangs_many_callers_at_once_are_told_in_time() {
    let server = RedisServer::start();
    let flow = Flow::start(server.config()).await;
    server.pause();
    let failures = futures::future::join_all((0..50).map(|_| failure(&flow.bus))).await;
    let waited = failures.iter().filter(|(span, _)| *span >= Duration::from_millis(150)).count();
    assert!(waited > 0, "nobody waited for an answer: {failures:?}");
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn now() -> Instant {
    Instant::now()
}
