//! Redis cannot be reached, or hangs: publishers do not hang with it.

use std::time::{Duration, Instant};

use eventbus::{EventBus, NewEvent, Payload};
use tests::redis::RedisServer;

use crate::flow::Flow;

/// A publish has 250 ms; the rest is for a busy machine.
const IN_TIME: Duration = Duration::from_secs(1);
/// What half of the refusals take at most.
const AT_ONCE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 1 });

/// A publish that failed: how long it took, and why.
type Failure = (Duration, &'static str);

async fn failure(bus: &EventBus) -> Failure {
    let began = now();
    let event = NewEvent::new("t", Payload::from_value(&0).unwrap());
    let error = bus.publish_event(event).await.unwrap_err();
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

/// Publishes for a while, which the breaker refuses but for a probe a second; a probe may be refused at its second try.
async fn assert_refused_at_once(bus: &EventBus) {
    const WHILE: Duration = Duration::from_millis(2500);
    let (began, mut refused, mut probes) = (now(), Vec::new(), Vec::new());
    while began.elapsed() < WHILE {
        let (span, label) = failure(bus).await;
        if label == "breaker_open" { &mut refused } else { &mut probes }.push(span);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    refused.sort();
    assert!(refused.len() > 20, "{} were refused", refused.len());
    assert!(refused[refused.len() / 2] < AT_ONCE, "{refused:?}");
    assert!(refused.iter().all(|span| *span < IN_TIME), "{refused:?}");
    assert!(probes.len() <= 3, "{probes:?} in {WHILE:?}");
    assert!(probes.iter().all(|span| *span < IN_TIME), "{probes:?}");
}

#[tokio::test]
async fn f48_while_redis_is_down_publishes_fail_in_time_and_from_the_sixth_on_at_once() {
    let mut server = RedisServer::start_with(&["--appendonly", "yes"]);
    let mut flow = Flow::start(server.config()).await;
    server.stop();
    let first = failures(&flow.bus, 5).await;
    assert!(first.iter().all(|(span, _)| *span < IN_TIME), "{first:?}");
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
    assert!(first.iter().all(|(span, _)| *span < IN_TIME), "{first:?}");
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
    assert!(failures.iter().all(|(span, _)| *span < IN_TIME), "{failures:?}");
    let waited = failures.iter().filter(|(span, _)| *span >= Duration::from_millis(150)).count();
    assert!(waited > 0, "nobody waited for an answer: {failures:?}");
}

#[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn now() -> Instant {
    Instant::now()
}
