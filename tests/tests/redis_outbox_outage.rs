//! A long outage at a thousand events a second. `OUTBOX_OUTAGE_SECONDS` says how long; `make test-outage`: 2 minutes.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::outbox::{Publisher, config, directory, first_ids, open};
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

const RATE: usize = 1_000;
const CALLERS: &str = "16";
const CAP: u64 = 128 * 1024 * 1024;
/// What a program may use more at an outage's end than after its first second.
const MEMORY: u64 = 16 * 1024 * 1024;

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by the environment")]
fn seconds() -> usize {
    std::env::var("OUTBOX_OUTAGE_SECONDS").map_or(5, |text| text.parse().unwrap())
}

#[expect(clippy::print_stderr, reason = "the numbers are for whoever runs the test")]
fn report(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::disallowed_methods, reason = "a test tells how long the backlog took")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn an_outage_costs_no_memory_and_no_event_and_the_spool_stays_within_its_cap() {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    let mut command = Command::new(env!("CARGO_BIN_EXE_outbox-publisher"));
    command.args(["a", CALLERS, &RATE.to_string()]);
    let cap = CAP.to_string();
    let settings = [("REDIS_OUTBOX_MAX_BYTES", cap.as_str()), ("REDIS_TRIM", "none")];
    let mut publisher = Publisher::start(command, &server, dir.path(), &settings);
    let long = Duration::from_secs(30 + 4 * seconds() as u64);
    let written = async |publisher: &Publisher, lines: usize| {
        wait::until("it writes", long, async || (publisher.lines().len() >= lines).then_some(()))
            .await;
    };
    written(&publisher, RATE).await;
    let before = publisher.memory();
    written(&publisher, RATE * seconds()).await;
    let after = publisher.memory();
    assert!(after < before + MEMORY, "{before} bytes became {after}");
    let files = std::fs::read_dir(dir.path()).unwrap();
    let used: u64 = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(used <= CAP, "{used}");

    report(&format!(
        "{} s: {before} bytes of memory became {after}; {used} bytes on disk",
        seconds()
    ));
    let waiting = publisher.lines().len();
    let began = now();
    server.restart();
    let caught_up = async || publisher.lines().last()?.ends_with(" published").then_some(());
    wait::until("callers wait for Redis again", long, caught_up).await;
    let took = now() - began;
    report(&format!("{waiting} events were sent within {took:?}, while new ones came"));
    publisher.kill();
    let lines = publisher.lines();
    assert!(lines.iter().all(|line| !line.contains("refused")), "{lines:?}");
    let bus = open(config(&server, dir.path())).await;
    assert_eq!(bus.flush_outbox(LONG).await, 0);
    let sent = first_ids(&mut server.connection().await).await;
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for id in &sent {
        let (caller, n) = id.rsplit_once('.').unwrap();
        let before = last.insert(caller, n.parse().unwrap()).unwrap_or(0);
        assert_eq!(last[caller], before + 1, "{id} stands behind {caller}.{before}");
    }
    for line in &lines {
        let (caller, n) = line.split_once(' ').unwrap().0.rsplit_once('.').unwrap();
        assert!(n.parse::<usize>().unwrap() <= last[caller], "{line} is lost");
    }
}
