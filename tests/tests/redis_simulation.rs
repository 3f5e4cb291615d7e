//! Consumers that are killed, paused and drained at random while events come in: every event is handled.
//!
//! The seed decides what is done to whom; a failure prints it. Times run five times faster than the shortest lease that
//! a resource may ask for.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use bus::backoff::Backoff;
use bus::config::RedisConfig;
use bus::delivery::{Answer, Delivery};
use bus::metrics::Metrics;
use bus::subscribe::{Subscriber, SubscriberConfig};
use prometheus_client::registry::Registry;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::redis::RedisServer;
use tests::subscriber::{config, drained, xadd};
use tokio_util::sync::CancellationToken;

const EVENTS: u32 = 600;
const CONSUMERS: usize = 4;
const LEASE: Duration = Duration::from_secs(1);
/// What is done, in all.
const BLOWS: u32 = 30;

/// What happens to all consumers together.
#[derive(Default)]
struct World {
    handled: Mutex<BTreeSet<u32>>,
    /// Attempts at which a killer event ended its consumer.
    killed_by: Mutex<Vec<(u32, u32)>>,
}

/// A consumer with a thread and a runtime of its own, so that blocking its thread halts it whole, as SIGSTOP does.
struct Consumer {
    thread: JoinHandle<()>,
    kill: CancellationToken,
    drain: CancellationToken,
    pause: Arc<AtomicBool>,
}

impl Consumer {
    fn start(redis: RedisConfig, world: Arc<World>) -> Self {
        let [kill, drain] = [(); 2].map(|()| CancellationToken::new());
        let pause = Arc::new(AtomicBool::new(false));
        let (killed, drained, paused) = (kill.clone(), drain.clone(), pause.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let metrics = Metrics::register(&mut Registry::default());
                let subscriber = Subscriber::new(redis, short(), metrics);
                let by_event = killed.clone();
                let handler = move |delivery| {
                    let (world, kill, pause) = (world.clone(), by_event.clone(), paused.clone());
                    async move { handle(&delivery, &world, &kill, &pause).await }
                };
                tokio::select! {
                    result = subscriber.run(handler, drained) => result.unwrap(),
                    () = killed.cancelled() => {}
                }
            });
        });
        Self { thread, kill, drain, pause }
    }
}

fn short() -> SubscriberConfig {
    let mut config = config();
    config.delivery.lease = LEASE;
    config.delivery.grace = Duration::from_secs(10);
    let (initial, max) = (Duration::from_millis(50), Duration::from_millis(500));
    config.delivery.backoff = Backoff { initial, max, multiplier: 2, jitter_percent: 20 };
    config
}

async fn handle(
    delivery: &Arc<Delivery>,
    world: &World,
    kill: &CancellationToken,
    pause: &AtomicBool,
) -> Answer {
    let number: u32 = delivery.event.payload.parse().unwrap();
    if pause.swap(false, Ordering::Relaxed) {
        std::thread::sleep(LEASE * 8 / 5);
    }
    tokio::time::sleep(Duration::from_millis(u64::from(number % 5))).await;
    // One in thirty ends its consumer at the first two attempts, one in ten fails twice.
    if number % 30 == 7
        && world.killed_by.lock().unwrap().iter().filter(|(n, _)| *n == number).count() < 2
    {
        world.killed_by.lock().unwrap().push((number, delivery.attempt));
        kill.cancel();
        std::future::pending::<()>().await;
    }
    if number % 10 == 3 && delivery.attempt < 3 {
        return Answer::Retry { after: None, reason: "flaky".to_owned() };
    }
    world.handled.lock().unwrap().insert(number);
    Answer::Done
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_paused_or_drained_every_event_is_handled() {
    let seed = 20_261_124;
    let mut dice = SmallRng::seed_from_u64(seed);
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let world = Arc::new(World::default());
    let start = || Consumer::start(server.config(), world.clone());
    let mut consumers: Vec<Consumer> = (0..CONSUMERS).map(|_| start()).collect();
    for blow in 0..BLOWS {
        for number in blow * EVENTS / BLOWS..(blow + 1) * EVENTS / BLOWS {
            xadd(&mut conn, &number.to_string()).await;
        }
        let victim = &consumers[dice.random_range(0..CONSUMERS)];
        match dice.random_range(0..3) {
            0 => victim.kill.cancel(),
            1 => victim.drain.cancel(),
            _ => victim.pause.store(true, Ordering::Relaxed),
        }
        // The time between two blows is part of the story, not a wait for something.
        tokio::time::sleep(Duration::from_millis(dice.random_range(50..300))).await;
        replace_ended(&mut consumers, start);
    }
    let done = async {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            replace_ended(&mut consumers, start);
        }
    };
    tokio::select! {
        () = drained(&mut conn) => {}
        () = done => {}
    }
    let handled = world.handled.lock().unwrap().clone();
    let lost: Vec<u32> = (0..EVENTS).filter(|number| !handled.contains(number)).collect();
    assert_eq!(lost, Vec::<u32>::new(), "lost with seed {seed}");
    let killers = world.killed_by.lock().unwrap().len();
    assert!(killers >= 20, "killer events ended only {killers} consumers");
    for consumer in consumers {
        consumer.drain.cancel();
        consumer.thread.join().unwrap();
    }
}

/// Where a consumer has ended, a new one starts, as in a Deployment.
fn replace_ended(consumers: &mut [Consumer], start: impl Fn() -> Consumer) {
    for consumer in consumers {
        if consumer.thread.is_finished() {
            *consumer = start();
        }
    }
}
