//! The outbox over crashes: a process that is killed, a file that is cut anywhere, a disk that takes no more.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use rand::RngExt;
use tests::outbox::{Publisher, config, directory, first_ids, open, publish};
use tests::redis::RedisServer;
use tests::subscriber::LONG;

const PROGRAM: &str = env!("CARGO_BIN_EXE_outbox-publisher");
const KILLS: usize = 20;

/// How many events a life has at least.
#[expect(clippy::disallowed_methods, reason = "the edge that throws the die")]
fn some() -> usize {
    rand::rng().random_range(1..300)
}

/// The events that the program was told are kept; that one is refused is a failure.
fn kept(lines: &[String]) -> Vec<String> {
    let id = |line: &String| {
        let (id, outcome) = line.split_once(' ').unwrap();
        assert!(["published", "spooled"].contains(&outcome), "{line}");
        id.to_owned()
    };
    lines.iter().map(id).collect()
}

/// `<run>.<caller>` and the number of an id.
fn parts(id: &str) -> (&str, u64) {
    let (caller, n) = id.rsplit_once('.').unwrap();
    (caller, n.parse().unwrap())
}

/// Each caller's events, in the order in which they first stand in the stream, are 1, 2, 3, …
fn assert_in_order(ids: &[String]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for id in ids {
        let (caller, n) = parts(id);
        let before = last.insert(caller, n).unwrap_or(0);
        assert_eq!(n, before + 1, "{id} stands behind {caller}.{before}");
    }
}

#[tokio::test]
async fn whenever_a_service_is_killed_what_it_was_told_is_kept_is_sent_in_its_order() {
    let (server, dir) = (RedisServer::start(), directory());
    let mut confirmed = Vec::new();
    for run in 0..KILLS {
        // In every other life Redis hangs.
        if run % 2 == 1 {
            server.pause();
        }
        let mut command = Command::new(PROGRAM);
        command.args([format!("{run:02}").as_str(), "4", "0"]);
        let mut publisher = Publisher::start(command, &server, dir.path(), &[]);
        publisher.has_written(some()).await;
        publisher.kill();
        confirmed.extend(kept(&publisher.lines()));
        server.resume();
    }
    let bus = open(config(&server, dir.path())).await;
    assert_eq!(bus.flush_outbox(LONG).await, 0);
    let sent = first_ids(&mut server.connection().await).await;
    let known: BTreeSet<&String> = sent.iter().collect();
    let lost: Vec<&String> = confirmed.iter().filter(|id| !known.contains(id)).collect();
    assert!(lost.is_empty(), "of {} confirmed events these are lost: {lost:?}", confirmed.len());
    assert_in_order(&sent);
    let runs: Vec<&str> = sent.iter().map(|id| &id[..2]).collect();
    assert!(runs.is_sorted(), "a later life's event stands before an earlier one's");
}

#[tokio::test]
async fn cut_at_any_byte_the_outbox_sends_what_stands_before_the_cut_and_then_what_is_new() {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    let bus = open(config(&server, dir.path())).await;
    publish(&bus, 0..3).await;
    drop(bus);
    server.restart();
    let bytes = std::fs::read(dir.path().join("00000000000000000001.log")).unwrap();
    let mut conn = server.connection().await;
    let mut kept_before = 0;
    for cut in 0..=bytes.len() {
        let other = directory();
        std::fs::write(other.path().join("00000000000000000001.log"), &bytes[..cut]).unwrap();
        let bus = open(config(&server, other.path())).await;
        publish(&bus, [9]).await;
        assert_eq!(bus.flush_outbox(LONG).await, 0);
        let sent = first_ids(&mut conn).await;
        let (new, old) = sent.split_last().unwrap();
        assert_eq!((new.as_str(), old), ("9", &["0", "1", "2"].map(str::to_owned)[..old.len()]));
        assert!((kept_before..=kept_before + 1).contains(&old.len()), "cut at {cut}: {sent:?}");
        kept_before = old.len();
        redis::cmd("DEL").arg("s").exec_async(&mut conn).await.unwrap();
    }
    assert_eq!(kept_before, 3, "uncut, all of them are sent");
}

#[tokio::test]
async fn where_the_disk_takes_no_more_of_a_segment_nothing_that_is_kept_is_lost() {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    // A write beyond the limit is cut off there, and fails: with EFBIG, where a full disk has ENOSPC.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limited, PROGRAM, "a", "4", "0"]);
    let mut publisher = Publisher::start(command, &server, dir.path(), &[]);
    publisher.has_written(500).await;
    publisher.kill();
    let confirmed = kept(&publisher.lines());
    let segments = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let segments = segments.filter(|path| path.extension().is_some_and(|it| it == "log")).count();
    assert!(segments > 2, "{segments} segments: the limit was never met");
    server.restart();
    let bus = open(config(&server, dir.path())).await;
    assert_eq!(bus.flush_outbox(LONG).await, 0);
    let sent = first_ids(&mut server.connection().await).await;
    assert!(confirmed.iter().all(|id| sent.contains(id)), "of {confirmed:?} stand {sent:?}");
    assert_in_order(&sent);
}
