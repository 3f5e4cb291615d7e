//! The scripts as a subscriber runs them: what an outage, a full server and odd fields do to its events.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::sync::Arc;
use std::time::Duration;

use eventbus::admin::Connection;
use eventbus::{Answer, Delivery};
use eventbus_core::names::DELAYED;
use tests::letters;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, config, drained, pending, xadd};
use tests::wait;
use tokio::sync::{Semaphore, mpsc};

/// Tells of its end, however that comes.
struct Call(mpsc::UnboundedSender<()>);

impl Drop for Call {
    fn drop(&mut self) {
        // With the test over nobody listens.
        let _ = self.0.send(());
    }
}

async fn never_ends(_: Arc<Delivery>) -> Answer {
    std::future::pending().await
}

/// Who has the only pending entry, and after how many attempts.
async fn owner(conn: &mut Connection) -> Option<(String, u32)> {
    let mut query = redis::cmd("XPENDING");
    let query = query.arg("s").arg("g").arg("-").arg("+").arg(1);
    let reply: Vec<(String, String, u64, u32)> = query.query_async(conn).await.unwrap();
    reply.into_iter().next().map(|(_, owner, _, attempts)| (owner, attempts))
}

#[tokio::test]
async fn what_an_outage_longer_than_the_lease_cut_off_is_repeated_under_the_same_number() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let mut config = config();
    config.delivery.lease = Duration::from_secs(1);
    let (sender, mut ended) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let running = Running::start(server.config(), config, {
        let gate = gate.clone();
        move |_| {
            let (gate, call) = (gate.clone(), Call(sender.clone()));
            async move {
                gate.acquire().await.unwrap().forget();
                drop(call);
                Answer::Done
            }
        }
    });
    wait::until("its handler has it", LONG, async || running.seen.all().pop()).await;
    server.pause();
    wait::within("the call is cut off", LONG, ended.recv()).await.unwrap();
    gate.add_permits(1);
    server.resume();
    let mut conn = server.connection().await;
    drained(&mut conn).await;
    assert_eq!(running.seen.all(), [("1".to_owned(), 1), ("1".to_owned(), 1)]);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn two_starts_of_one_process_are_two_consumers() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let running = [(); 2].map(|()| Running::start(server.config(), config(), never_ends));
    let names = wait::until("both have sent a heartbeat", LONG, async || {
        let mut keys = redis::cmd("HKEYS");
        let keys = keys.arg("{s}:eventbus:consumers:g");
        let mut names: Vec<String> = keys.query_async(&mut conn).await.ok()?;
        names.retain(|name| name.starts_with("c:pod/"));
        (names.len() == 2).then_some(names)
    })
    .await;
    assert_ne!(names[0], names[1]);
    for consumer in running {
        consumer.stop().await.unwrap();
    }
}

#[tokio::test]
async fn while_the_server_is_full_events_are_handled_and_a_dead_letter_waits_for_its_place() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for payload in ["1", r#""dead""#] {
        xadd(&mut conn, payload).await;
    }
    let gate = Arc::new(Semaphore::new(0));
    let running = Running::start(server.config(), config(), {
        let gate = gate.clone();
        move |delivery| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                if delivery.event.payload().as_str() == "1" {
                    Answer::Done
                } else {
                    Answer::dead("no")
                }
            }
        }
    });
    wait::until("both run", LONG, async || (running.seen.all().len() == 2).then_some(())).await;
    command(&mut conn, "CONFIG SET maxmemory 1").await;
    gate.add_permits(2);
    // With no attempt left, so that nobody calls the handler again.
    wait::until("the good one is acknowledged, the dead one delayed", LONG, async || {
        let waits = owner(&mut conn).await == Some((DELAYED.to_owned(), 5));
        (waits && pending(&mut conn).await == 1).then_some(())
    })
    .await;
    assert_eq!(letters::all(&mut conn).await, []);
    command(&mut conn, "CONFIG SET maxmemory 0").await;
    drained(&mut conn).await;
    assert_eq!(letters::fields(&mut conn).await[0]["payload"], br#""dead""#);
    assert_eq!(running.seen.all().len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn without_redis_a_stop_ends_with_the_grace_as_an_error() {
    let mut server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let mut config = config();
    config.delivery.grace = Duration::from_millis(200);
    let running = Running::start(server.config(), config, never_ends);
    wait::until("its handler has it", LONG, async || running.seen.all().pop()).await;
    server.stop();
    let error = running.stop().await.unwrap_err();
    assert!(matches!(error, eventbus::Error::ShutdownTimedOut { .. }), "{error}");
}

#[tokio::test]
async fn an_event_with_a_field_like_that_of_a_packed_dead_letter_is_tried_again_like_any() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    // MessagePack: an array of two numbers.
    let fields: [(&str, &[u8]); 3] =
        [("type", b"t"), ("payload", b"1"), ("dlq.raw", b"\x92\x01\x02")];
    redis::cmd("XADD").arg("s").arg("*").arg(&fields).exec_async(&mut conn).await.unwrap();
    xadd(&mut conn, "2").await;
    let running = Running::start(server.config(), config(), async |delivery| {
        if delivery.attempt == 1 { Answer::retry("no") } else { Answer::Done }
    });
    drained(&mut conn).await;
    let times = running.seen.times();
    assert_eq!((times["1"], times["2"]), (2, 2));
    running.stop().await.unwrap();
}
