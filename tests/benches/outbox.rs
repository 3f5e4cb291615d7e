//! What the outbox costs, and how fast it recovers, as ratios within one run: `make bench`.
//!
//! Each figure is the median of paired repetitions. The outbox is on the disk that cargo builds on. A word as argument
//! runs only the rows that contain it.

use std::time::{Duration, Instant};

use eventbus::{EventBus, Metrics, NewEvent, Payload};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tests::event_bus::bus_on;
use tests::outbox::{config, directory};
use tests::redis::RedisServer;

const REPETITIONS: usize = 9;
const CALLERS: u64 = 64;
const EVENTS: u64 = 6_400;
const ONE_BY_ONE: u64 = 300;
const BACKLOG: u64 = 40_000;
/// New events a second while a backlog is sent.
const NEW: u64 = 1_000;
/// As many callers as it takes to spool a backlog in little time.
const MANY: u64 = 400;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    report("outbox, 64 callers (events/sync)", ["syncs/s", "events/s"], || {
        runtime.block_on(syncs())
    });
    report("outbox, 64 callers against 1 (events/s)", ["1", "64"], || {
        let one = runtime.block_on(rate(ONE_BY_ONE, 1));
        (one, runtime.block_on(rate(EVENTS, CALLERS)))
    });
    report("outbox, a backlog is sent (events/s)", ["publish", "backlog"], || {
        let normal = runtime.block_on(normal());
        (normal, runtime.block_on(backlog()))
    });
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn report(name: &str, columns: [&str; 2], mut pair: impl FnMut() -> (f64, f64)) {
    // Cargo adds `--bench` to the arguments.
    let word = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    if word.is_some_and(|word| !name.contains(&word)) {
        return;
    }
    let pairs: Vec<(f64, f64)> = (0..REPETITIONS).map(|_| pair()).collect();
    let first = median(pairs.iter().map(|(first, _)| *first));
    let second = median(pairs.iter().map(|(_, second)| *second));
    let ratio = median(pairs.iter().map(|(first, second)| second / first));
    let [left, right] = columns;
    println!("{:<42}{left:>14}{right:>14}{:>8}", "median of 9 paired runs", "ratio");
    println!("{name:<42}{first:>14.0}{second:>14.0}{ratio:>8.2}");
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// An event with a payload of about 300 bytes, as the platform's are.
fn event() -> NewEvent {
    let text = format!("{{\"applicationId\":\"a-1\",\"text\":\"{}\"}}", "x".repeat(260));
    NewEvent::new("t", Payload::from_text(text).expect("it is JSON"))
}

/// As many callers, each one event behind the other, as tasks of their own.
async fn spool(bus: &EventBus, events: u64, callers: u64) {
    let caller = |bus: EventBus| async move {
        for _ in 0..events / callers {
            bus.publish_or_spool(event()).await.expect("it is kept");
        }
    };
    let calls: Vec<_> = (0..callers).map(|_| tokio::spawn(caller(bus.clone()))).collect();
    for call in calls {
        call.await.expect("it ends");
    }
}

/// Events and syncs a second.
async fn syncs() -> (f64, f64) {
    let (server, dir) = (RedisServer::start(), directory());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let bus = EventBus::builder(config(&server, dir.path())).metrics(&metrics).connect();
    let bus = bus.await.expect("it connects");
    let took = timed(spool(&bus, EVENTS, CALLERS)).await;
    let mut text = String::new();
    encode(&mut text, &registry).expect("metrics are text");
    let line = text.lines().find(|line| line.starts_with("eventbus_outbox_syncs_total"));
    let syncs = line.and_then(|line| line.split(' ').next_back()?.parse::<f64>().ok());
    (syncs.expect("syncs are counted") / took, EVENTS as f64 / took)
}

/// Events a second by way of the outbox.
async fn rate(events: u64, callers: u64) -> f64 {
    let (server, dir) = (RedisServer::start(), directory());
    let bus = EventBus::connect(config(&server, dir.path())).await.expect("it connects");
    events as f64 / timed(spool(&bus, events, callers)).await
}

/// Events a second that are published without an outbox.
async fn normal() -> f64 {
    let server = RedisServer::start();
    let bus = bus_on(&server).await;
    let caller = |bus: EventBus| async move {
        for _ in 0..BACKLOG / CALLERS {
            bus.publish_event(event()).await.expect("it is published");
        }
    };
    let calls = async {
        let calls: Vec<_> = (0..CALLERS).map(|_| tokio::spawn(caller(bus.clone()))).collect();
        for call in calls {
            call.await.expect("it ends");
        }
    };
    BACKLOG as f64 / timed(calls).await
}

/// Events a second that are sent of a backlog, from the first one on, while new ones come.
async fn backlog() -> f64 {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    let bus = EventBus::connect(config(&server, dir.path())).await.expect("it connects");
    spool(&bus, BACKLOG, MANY).await;
    let unsent = async || bus.flush_outbox(Duration::ZERO).await;
    let coming = tokio::spawn(new_events(bus.clone()));
    server.restart();
    while unsent().await >= BACKLOG {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let first = unsent().await;
    let took = timed(async {
        while unsent().await > NEW / 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let took = took.await;
    coming.abort();
    (first as f64 + NEW as f64 * took) / took
}

async fn new_events(bus: EventBus) {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / NEW as u32);
    loop {
        pace.tick().await;
        let bus = bus.clone();
        tokio::spawn(async move { bus.publish_or_spool(event()).await });
    }
}

/// Seconds that `work` takes.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
async fn timed(work: impl Future<Output = ()>) -> f64 {
    let began = Instant::now();
    work.await;
    began.elapsed().as_secs_f64()
}
