//! The library against a minimal raw client on the same server, as ratios within one run: `make bench`.
//!
//! Each figure is the median of paired repetitions: raw, then ours, then the next pair, so that a busy machine slows
//! both. A word as argument runs only the rows that contain it. Throughput: ours ÷ raw, higher is better. Latency: ours ÷ raw, lower is better.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventbus::config::BusConfig;
use eventbus::consume::{Subscriber, SubscriberConfig};
use eventbus::{Answer, Delivery, EventBus, Metrics, StreamKey};
use prometheus_client::registry::Registry;
use serde_json::json;
use tests::raw::Raw;
use tests::redis::RedisServer;
use tests::subscriber;
use tokio_util::sync::CancellationToken;

const REPETITIONS: usize = 9;
const EVENTS: u64 = 40_000;
const ONE_BY_ONE: u64 = 4_000;
const CALLERS: u64 = 200;
const BATCH: usize = 100;
/// Events a second while the latency up to the handler is measured.
const RATE: u64 = 2_000;
/// Events, one a millisecond, while the latency of publishing is measured.
const PACED: u32 = 2_000;

/// One repetition's figures: of the raw client, and of the library.
type Pair = (f64, f64);

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn main() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("{:<38}{:>14}{:>14}{:>8}", "median of 9 paired runs", "raw", "bus", "ratio");
    let publish_one = |n: u64| rate(n, |server| raw_publish(server, n, 1));
    report("publish, 1 caller (events/s)", || {
        let ours = rate(ONE_BY_ONE, |server| runtime.block_on(publish(server, ONE_BY_ONE, 1)));
        (publish_one(ONE_BY_ONE), ours)
    });
    report("publish, 200 callers (events/s)", || {
        let raw = rate(EVENTS, |server| raw_publish(server, EVENTS, CALLERS));
        (raw, rate(EVENTS, |server| runtime.block_on(publish(server, EVENTS, CALLERS))))
    });
    report("publish at 1,000/s, p99 (µs)", || {
        let p99 = |mut spans: Vec<Duration>| {
            spans.sort_unstable();
            micros(spans[spans.len() * 99 / 100])
        };
        let (server, other) = (RedisServer::start(), RedisServer::start());
        let raw = p99(raw_publish_spans(&server));
        (raw, p99(runtime.block_on(publish_spans(&other))))
    });
    report("consume and acknowledge (events/s)", || {
        let filled = || {
            let server = RedisServer::start();
            fill(&server, EVENTS);
            server
        };
        let (server, other) = (filled(), filled());
        let raw = timed(EVENTS, || raw_consume(&server, EVENTS));
        (raw, EVENTS as f64 / runtime.block_on(consume(&other, EVENTS)).as_secs_f64())
    });
    report("publish to handler, p50 (µs)", || {
        let latency = |ours| {
            let server = RedisServer::start();
            fill(&server, 0);
            let publisher = std::thread::spawn({
                let port = server.port();
                move || paced_publish(port)
            });
            let mut spans =
                if ours { runtime.block_on(handler_spans(&server)) } else { raw_spans(&server) };
            publisher.join().expect("the publisher ends");
            spans.sort_unstable();
            micros(spans[spans.len() / 2])
        };
        (latency(false), latency(true))
    });
    idle(&runtime);
}

/// What a reader costs that has nothing to read.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn idle(runtime: &tokio::runtime::Runtime) {
    const SPAN: Duration = Duration::from_secs(10);
    if !is_selected("idle reader") {
        return;
    }
    let server = RedisServer::start();
    fill(&server, 0);
    let subscriber = subscribe(&server, u64::MAX, |_| {});
    let used = runtime.block_on(async {
        tokio::pin!(subscriber);
        let connected = tokio::time::timeout(Duration::from_secs(1), &mut subscriber);
        connected.await.expect_err("nothing ends it");
        let before = cpu_time();
        tokio::time::timeout(SPAN, &mut subscriber).await.expect_err("nothing ends it");
        cpu_time() - before
    });
    println!(
        "an idle reader uses {:.3} % of a core",
        used.as_secs_f64() / SPAN.as_secs_f64() * 100.0
    );
}

/// CPU time of all threads of this process, by Linux' own account.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(nanos).sum())
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn report(name: &str, mut pair: impl FnMut() -> Pair) {
    if !is_selected(name) {
        return;
    }
    let pairs: Vec<Pair> = (0..REPETITIONS).map(|_| pair()).collect();
    let raw = median(pairs.iter().map(|(raw, _)| *raw));
    let ours = median(pairs.iter().map(|(_, ours)| *ours));
    let ratio = median(pairs.iter().map(|(raw, ours)| ours / raw));
    println!("{name:<38}{raw:>14.0}{ours:>14.0}{ratio:>8.2}");
}

fn is_selected(name: &str) -> bool {
    // Cargo adds `--bench` to the arguments.
    let word = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    word.is_none_or(|word| name.contains(&word))
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Events a second of `work` on a new server.
fn rate(events: u64, work: impl FnOnce(&RedisServer)) -> f64 {
    let server = RedisServer::start();
    timed(events, || work(&server))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn timed(events: u64, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    events as f64 / began.elapsed().as_secs_f64()
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

/// A payload of about 300 bytes, as the platform's are.
fn payload() -> String {
    json!({"applicationId": "a-1", "text": "x".repeat(260)}).to_string()
}

fn fill(server: &RedisServer, events: u64) {
    let mut raw = Raw::connect(server.port());
    raw.run(&["XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"]);
    raw_publish(server, events, CALLERS);
}

/// `window` commands in one write, then their answers.
fn raw_publish(server: &RedisServer, events: u64, window: u64) {
    let mut raw = Raw::connect(server.port());
    let payload = payload();
    let command = [
        "XADD",
        "s",
        "*",
        "type",
        "t",
        "payload",
        &payload,
        "source",
        "bench",
        "ts",
        "2026-01-01T00:00:00.000000Z",
        "id",
        "01900000-0000-7000-8000-000000000000",
    ];
    for _ in 0..events / window {
        for _ in 0..window {
            raw.write(&command);
        }
        raw.flush();
        for _ in 0..window {
            raw.read();
        }
    }
}

async fn publish(server: &RedisServer, events: u64, callers: u64) {
    let config = BusConfig::new(server.config(), StreamKey::new("s").expect("the name is right"));
    let bus = EventBus::connect(config).await.expect("it connects");
    let value = serde_json::from_str::<serde_json::Value>(&payload()).expect("it is JSON");
    let caller = || async {
        for _ in 0..events / callers {
            bus.publish("t", &value, Some("bench")).await.expect("it publishes");
        }
    };
    futures::future::join_all((0..callers).map(|_| caller())).await;
}

/// How long publishing takes while one event is published a millisecond.
fn raw_publish_spans(server: &RedisServer) -> Vec<Duration> {
    let mut raw = Raw::connect(server.port());
    let (payload, began) = (payload(), since_boot());
    let publish = |n: u32| {
        while since_boot() < began + Duration::from_millis(1) * n {
            std::thread::yield_now();
        }
        let sent = since_boot();
        raw.run(&["XADD", "s", "*", "type", "t", "payload", &payload, "source", "bench", "ts", ""]);
        since_boot() - sent
    };
    (0..PACED).map(publish).collect()
}

async fn publish_spans(server: &RedisServer) -> Vec<Duration> {
    let config = BusConfig::new(server.config(), StreamKey::new("s").expect("the name is right"));
    let bus = EventBus::connect(config).await.expect("it connects");
    let value = serde_json::from_str::<serde_json::Value>(&payload()).expect("it is JSON");
    let mut spans = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(1));
    for _ in 0..PACED {
        pace.tick().await;
        let sent = since_boot();
        bus.publish("t", &value, Some("bench")).await.expect("it publishes");
        spans.push(since_boot() - sent);
    }
    spans
}

/// The acknowledgements of one batch and the read of the next in one write.
fn raw_consume(server: &RedisServer, events: u64) {
    let mut raw = Raw::connect(server.port());
    let count = BATCH.to_string();
    let read = ["XREADGROUP", "GROUP", "g", "c", "COUNT", &count, "STREAMS", "s", ">"];
    let (mut ids, mut handled) = (Vec::new(), 0);
    while handled < events {
        let acknowledged = !ids.is_empty();
        if acknowledged {
            let mut acknowledge = vec!["XACK", "s", "g"];
            acknowledge.extend(ids.iter().map(String::as_str));
            raw.write(&acknowledge);
        }
        raw.write(&read);
        raw.flush();
        if acknowledged {
            raw.read();
        }
        ids = raw.read_ids();
        handled += ids.len() as u64;
    }
    let mut acknowledge = vec!["XACK", "s", "g"];
    acknowledge.extend(ids.iter().map(String::as_str));
    raw.run(&acknowledge);
}

fn config() -> SubscriberConfig {
    let mut config = subscriber::config();
    config.start = None;
    (config.delivery.concurrency, config.delivery.batch_size) = (BATCH, BATCH);
    config.delivery.lease = Duration::from_secs(30);
    config
}

/// Runs a subscriber until its handler was called `events` times and everything is acknowledged.
async fn subscribe(
    server: &RedisServer,
    events: u64,
    note: impl Fn(&Delivery) + Send + Sync + 'static,
) {
    let stop = CancellationToken::new();
    let metrics = Metrics::register(&mut Registry::default());
    let subscriber = Subscriber::new(server.config(), config(), metrics);
    let handled = Arc::new(AtomicU64::new(0));
    let running = subscriber.run(
        {
            let stop = stop.clone();
            move |delivery: Arc<Delivery>| {
                note(&delivery);
                if handled.fetch_add(1, Ordering::Relaxed) + 1 == events {
                    stop.cancel();
                }
                async { Answer::Done }
            }
        },
        stop,
    );
    running.await.expect("it leaves");
}

/// How long it takes from the start to the last call of the handler: leaving waits for a read that blocks.
async fn consume(server: &RedisServer, events: u64) -> Duration {
    let began = since_boot();
    let last = Arc::new(AtomicU64::new(0));
    let note = last.clone();
    subscribe(server, events, move |_| {
        let nanos = u64::try_from(since_boot().as_nanos()).expect("it is not that long");
        note.store(nanos, Ordering::Relaxed);
    })
    .await;
    Duration::from_nanos(last.load(Ordering::Relaxed)) - began
}

/// Publishes a second's worth of events at an even pace; the payload is the time, in nanoseconds of the machine's clock.
fn paced_publish(port: u16) {
    let mut raw = Raw::connect(port);
    let began = since_boot();
    for n in 0..RATE {
        let due = Duration::from_secs(1) * u32::try_from(n).expect("it is small")
            / u32::try_from(RATE).expect("it is small");
        while since_boot() < began + due {
            std::thread::yield_now();
        }
        let now = since_boot().as_nanos().to_string();
        raw.run(&["XADD", "s", "*", "type", "t", "payload", &now, "source", "", "ts", ""]);
    }
}

/// A clock that two threads agree on.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures")]
fn since_boot() -> Duration {
    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

fn age(payload: &str) -> Duration {
    let sent = Duration::from_nanos(payload.parse().expect("the payload is a time"));
    since_boot().saturating_sub(sent)
}

fn raw_spans(server: &RedisServer) -> Vec<Duration> {
    let mut raw = Raw::connect(server.port());
    let read =
        ["XREADGROUP", "GROUP", "g", "c", "COUNT", "100", "BLOCK", "2000", "STREAMS", "s", ">"];
    let mut spans = Vec::new();
    while spans.len() < usize::try_from(RATE).expect("it is small") {
        raw.write(&read);
        raw.flush();
        let (ids, payloads) = raw.read_entries();
        spans.extend(payloads.iter().map(|payload| age(payload)));
        let mut acknowledge = vec!["XACK", "s", "g"];
        acknowledge.extend(ids.iter().map(String::as_str));
        raw.run(&acknowledge);
    }
    spans
}

async fn handler_spans(server: &RedisServer) -> Vec<Duration> {
    let spans = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = spans.clone();
    subscribe(server, RATE, move |delivery| {
        let span = age(delivery.event.payload().as_str());
        note.lock().expect("nobody panics with it").push(span);
    })
    .await;
    std::mem::take(&mut *spans.lock().expect("nobody panics with it"))
}
