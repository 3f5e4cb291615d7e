//! Consumers that are killed, paused and drained at random while events come in, some of which always fail or kill their
//! consumer: every good event is handled, every bad one is a dead letter once, and no good one is.
//!
//! The seed decides what is done to whom; a failure prints it, and `SEED=… make test-redis TEST=whatever` runs another
//! one. Times run five times faster than the shortest lease that a resource may ask for.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use eventbus::admin::replay;
use eventbus::config::RedisConfig;
use eventbus::consume::{Subscriber, SubscriberConfig};
use eventbus::{Answer, Delivery, GroupName, Metrics};
use eventbus_core::retry::backoff::Backoff;
use prometheus_client::registry::Registry;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::letters;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, config, drained, xadd};
use tests::wait;
use tokio_util::sync::CancellationToken;

const EVENTS: u32 = 600;
const CONSUMERS: usize = 4;
const LEASE: Duration = Duration::from_secs(1);
const MAX_ATTEMPTS: u32 = 3;
/// What is done, in all.
const BLOWS: u32 = 30;

/// What an event does to its handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    /// Fails twice.
    Flaky,
    /// Always fails.
    Bad,
    /// Always ends its consumer.
    Poison,
}

fn kind(number: u32) -> Kind {
    match number {
        n if n % 100 == 7 => Kind::Poison,
        n if n % 50 == 3 => Kind::Bad,
        n if n % 10 == 5 => Kind::Flaky,
        _ => Kind::Good,
    }
}

fn is_guilty(number: u32) -> bool {
    matches!(kind(number), Kind::Bad | Kind::Poison)
}

/// What happens to all consumers together.
#[derive(Default)]
struct World {
    /// How often each event was handled to its end.
    handled: Mutex<BTreeMap<u32, u32>>,
    /// How often each event ended its consumer.
    kills: Mutex<BTreeMap<u32, u32>>,
    /// Whether bad events and poison were mended.
    is_fixed: AtomicBool,
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
    config.delivery.max_attempts = MAX_ATTEMPTS;
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
    let number: u32 = delivery.event.payload().parse().unwrap();
    if pause.swap(false, Ordering::Relaxed) {
        std::thread::sleep(LEASE * 8 / 5);
    }
    tokio::time::sleep(Duration::from_millis(u64::from(number % 5))).await;
    let is_fixed = world.is_fixed.load(Ordering::Relaxed);
    match kind(number) {
        Kind::Poison if !is_fixed => {
            *world.kills.lock().unwrap().entry(number).or_default() += 1;
            kill.cancel();
            std::future::pending::<()>().await;
        }
        Kind::Bad if !is_fixed => return Answer::retry("bad"),
        Kind::Flaky if delivery.attempt < 3 => return Answer::retry("flaky"),
        _ => {}
    }
    *world.handled.lock().unwrap().entry(number).or_default() += 1;
    Answer::Done
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_paused_or_drained_every_event_is_handled_or_dead_by_its_own_fault() {
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let world = Arc::new(World::default());
    let mut consumers = Consumers::start(server.config(), world.clone());
    for blow in 0..BLOWS {
        for number in blow * EVENTS / BLOWS..(blow + 1) * EVENTS / BLOWS {
            xadd(&mut conn, &number.to_string()).await;
        }
        consumers.strike(&mut rng);
        // The time between two blows is part of the story, not a wait for something.
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..300))).await;
        consumers.replace_ended();
    }
    consumers.until(drained(&mut conn)).await;

    let all: BTreeSet<u32> = (0..EVENTS).collect();
    let guilty: BTreeSet<u32> = all.iter().copied().filter(|n| is_guilty(*n)).collect();
    let handled: BTreeSet<u32> = world.handled.lock().unwrap().keys().copied().collect();
    let wrong = &handled ^ &(&all - &guilty);
    assert!(
        wrong.is_empty(),
        "seed {seed}: handled though guilty, or not though innocent: {wrong:?}"
    );
    let letters = letters::all(&mut conn).await;
    let dead = letters
        .iter()
        .map(|(_, fields)| String::from_utf8_lossy(&fields["payload"]).parse::<u32>().unwrap());
    let mut dead: Vec<u32> = dead.collect();
    dead.sort_unstable();
    assert_eq!(
        dead,
        guilty.iter().copied().collect::<Vec<_>>(),
        "dead letters, each once, seed {seed}"
    );
    let kills = world.kills.lock().unwrap().clone();
    assert!(kills.values().all(|times| *times <= MAX_ATTEMPTS + 1), "seed {seed}: {kills:?}");

    world.is_fixed.store(true, Ordering::Relaxed);
    let group = GroupName::new("g").unwrap();
    for _ in 0..2 {
        for (id, _) in &letters {
            replay(&mut conn, &letters::stream(), &group, *id).await.unwrap();
        }
    }
    let gone = wait::until("the dead letters are gone", LONG, async || {
        letters::all(&mut conn.clone()).await.is_empty().then_some(())
    });
    consumers.until(gone).await;
    let handled = world.handled.lock().unwrap().clone();
    let times: Vec<u32> = guilty.iter().map(|number| handled[number]).collect();
    assert_eq!(times, vec![1; guilty.len()], "replays pressed twice, seed {seed}");
    consumers.end().await;
}

#[expect(clippy::disallowed_methods, reason = "the edge where a person chooses the seed")]
fn seed() -> u64 {
    std::env::var("SEED").map_or(20_261_124, |seed| seed.parse().expect("SEED is a number"))
}

/// As many as there should be.
struct Consumers {
    redis: RedisConfig,
    world: Arc<World>,
    all: Vec<Consumer>,
}

impl Consumers {
    fn start(redis: RedisConfig, world: Arc<World>) -> Self {
        let all = (0..CONSUMERS).map(|_| Consumer::start(redis.clone(), world.clone()));
        Self { all: all.collect(), redis, world }
    }

    fn strike(&self, rng: &mut SmallRng) {
        let victim = &self.all[rng.random_range(0..CONSUMERS)];
        match rng.random_range(0..3) {
            0 => victim.kill.cancel(),
            1 => victim.drain.cancel(),
            _ => victim.pause.store(true, Ordering::Relaxed),
        }
    }

    /// Where a consumer has ended, a new one starts, as in a Deployment.
    fn replace_ended(&mut self) {
        for consumer in &mut self.all {
            if consumer.thread.is_finished() {
                *consumer = Consumer::start(self.redis.clone(), self.world.clone());
            }
        }
    }

    async fn until(&mut self, done: impl Future<Output = ()>) {
        let replace = async {
            let mut check = tokio::time::interval(Duration::from_millis(50));
            loop {
                check.tick().await;
                self.replace_ended();
            }
        };
        tokio::select! {
            () = done => {}
            () = replace => {}
        }
    }

    async fn end(self) {
        for consumer in &self.all {
            consumer.drain.cancel();
        }
        wait::until("all consumers have ended", LONG, async || {
            self.all.iter().all(|consumer| consumer.thread.is_finished()).then_some(())
        })
        .await;
        for consumer in self.all {
            consumer.thread.join().unwrap();
        }
    }
}
