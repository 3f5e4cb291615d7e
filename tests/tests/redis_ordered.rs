//! The stream's order, kept over several consumers, on a real server.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventbus::consume::{DeliveryOrder, SubscriberConfig};
use eventbus::{Answer, Delivery};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::letters;
use tests::redis::RedisServer;
use tests::subscriber::{
    LONG, Running, command, config, done_when, drained, heartbeats, pending, xadd,
};
use tests::wait;

fn ordered() -> SubscriberConfig {
    let mut config = config();
    config.delivery.ordering = DeliveryOrder::Stream;
    config.delivery.concurrency = 1;
    config.delivery.lease = Duration::from_secs(1);
    config.delivery.backoff.initial = Duration::from_millis(20);
    config
}

#[tokio::test]
async fn events_are_handled_one_by_one_in_the_order_of_the_stream() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let running = Running::start(server.config(), ordered(), async |_| Answer::Done);
    let numbers: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    for number in &numbers {
        xadd(&mut conn, number).await;
    }
    drained(&mut conn).await;
    let seen: Vec<String> = running.seen.all().into_iter().map(|(payload, _)| payload).collect();
    assert_eq!(seen, numbers);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_failing_event_holds_the_others_up_and_a_dead_letter_leaves_a_gap() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for payload in ["1", "2", "3"] {
        xadd(&mut conn, payload).await;
    }
    let mut config = ordered();
    config.delivery.max_attempts = 3;
    let running = Running::start(server.config(), config, async |delivery| {
        match delivery.event.payload().as_str() {
            "2" => Answer::retry("no"),
            _ => Answer::Done,
        }
    });
    drained(&mut conn).await;
    let seen = running.seen.all();
    let seen: Vec<(&str, u32)> = seen.iter().map(|(p, n)| (p.as_str(), *n)).collect();
    assert_eq!(seen, [("1", 1), ("2", 1), ("2", 2), ("2", 3), ("3", 1)]);
    assert_eq!(letters::fields(&mut conn).await[0]["payload"], b"2");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_in_one_consumers_hand_is_nobody_elses_for_many_leases() {
    const LEASE: Duration = Duration::from_secs(2);
    // A busy machine may let a lease end, but not each time.
    wait::until("heartbeats come in time", 3 * LONG, async || {
        let server = RedisServer::start();
        let mut conn = server.connection().await;
        for payload in ["1", "2"] {
            xadd(&mut conn, payload).await;
        }
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let mut config = ordered();
        config.delivery.lease = LEASE;
        let start = || Running::start(server.config(), config.clone(), done_when(&gate));
        let consumers = [start(), start()];
        let total = || consumers.iter().map(|c| c.seen.all().len()).sum::<usize>();
        wait::until("both are there, and one has the first", LONG, async || {
            let are_there = consumers.iter().all(|c| c.readiness.has_connected());
            (are_there && total() > 0).then_some(())
        })
        .await;
        // Three at least in each lease.
        let in_time = heartbeats(&mut conn, 2, 9, LEASE).await;
        let (begun, waiting) = (total(), pending(&mut conn).await);
        gate.add_permits(9);
        drained(&mut conn).await;
        let handled = total();
        for consumer in consumers {
            consumer.stop().await.unwrap();
        }
        if !in_time {
            return None;
        }
        assert_eq!((begun, waiting, handled), (1, 1, 2));
        Some(())
    })
    .await;
}

#[tokio::test]
async fn replays_run_when_the_stream_has_nothing_left() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let running = Running::start(server.config(), ordered(), async |delivery| {
        if delivery.replay { Answer::Done } else { Answer::dead("broken") }
    });
    drained(&mut conn).await;
    let (id, _) = letters::all(&mut conn).await.remove(0);
    let group = eventbus::GroupName::new("g").unwrap();
    eventbus::admin::replay(&mut conn, &letters::stream(), &group, id).await.unwrap();
    wait::until("it is gone", LONG, async || {
        letters::all(&mut conn.clone()).await.is_empty().then_some(())
    })
    .await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_entry_that_was_trimmed_while_it_waited_holds_nobody_up() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let id = xadd(&mut conn, "1").await;
    let mut config = ordered();
    config.delivery.backoff.initial = Duration::from_millis(500);
    let running = Running::start(server.config(), config, async |delivery| {
        if delivery.event.payload().as_str() == "1" { Answer::retry("no") } else { Answer::Done }
    });
    wait::until("it failed once", LONG, async || running.seen.all().pop()).await;
    command(&mut conn, &format!("XDEL s {id}")).await;
    xadd(&mut conn, "2").await;
    drained(&mut conn).await;
    assert_eq!(running.seen.times()["2"], 1);
    running.stop().await.unwrap();
}

/// What the three consumers of the next test do, in the order of its beginning.
type Begun = Arc<Mutex<Vec<u32>>>;

fn handle(begun: &Begun, rng: &Arc<Mutex<SmallRng>>, delivery: &Delivery) -> (Answer, bool) {
    let number = delivery.event.payload().parse().unwrap();
    begun.lock().unwrap().push(number);
    let draw: f64 = rng.lock().unwrap().random();
    let crashes = draw < 0.03;
    let fails = draw > 0.9 && delivery.attempt < 3;
    (if fails { Answer::retry("no") } else { Answer::Done }, crashes)
}

#[tokio::test]
async fn whoever_crashes_or_drains_no_older_event_is_begun_after_a_newer_one() {
    const EVENTS: u32 = 150;
    let seed = 20_261_125;
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let begun = Begun::default();
    let rng = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)));
    let (crash, mut crashes) = tokio::sync::mpsc::unbounded_channel();
    let start = |slot: usize| {
        let (begun, rng, crash) = (begun.clone(), rng.clone(), crash.clone());
        Running::start(server.config(), ordered(), move |delivery: Arc<Delivery>| {
            let (answer, crashes) = handle(&begun, &rng, &delivery);
            let crash = crash.clone();
            async move {
                if crashes {
                    crash.send(slot).unwrap();
                    std::future::pending::<()>().await;
                }
                answer
            }
        })
    };
    let mut consumers: Vec<Running> = (0..3).map(start).collect();
    for number in 0..EVENTS {
        xadd(&mut conn, &number.to_string()).await;
    }
    let mut crashed = 0;
    wait::within("all events are settled, whoever crashes", 5 * LONG, async {
        loop {
            tokio::select! {
                Some(slot) = crashes.recv() => {
                    consumers[slot] = start(slot);
                    crashed += 1;
                }
                () = drained(&mut conn) => break,
            }
        }
    })
    .await;
    let begun = begun.lock().unwrap().clone();
    assert!(begun.is_sorted(), "seed {seed}: {begun:?}");
    assert_eq!(begun.iter().collect::<BTreeSet<_>>().len(), EVENTS as usize, "seed {seed}");
    assert!(crashed > 0, "nothing was tried");
    assert_eq!(letters::all(&mut conn).await, []);
}
