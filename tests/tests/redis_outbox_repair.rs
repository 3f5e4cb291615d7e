//! What the outbox gets over by itself: damage in its middle, a disk that is full, a server that is no primary any more.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use eventbus::PublishOutcome;
use eventbus::admin::Connection;
use eventbus::config::{CredentialFiles, Durability, HardCap, Overflow, RedisConfig};
use tests::outbox::{Publisher, config, directory, event, first_ids, ids, open, publish};
use tests::redis::RedisServer;
use tests::subscriber::LONG;
use tests::wait;

const PROGRAM: &str = env!("CARGO_BIN_EXE_outbox-publisher");

/// How often the server was asked to do `command`, in vain or not.
async fn calls(conn: &mut Connection, command: &str) -> u64 {
    let mut info = redis::cmd("INFO");
    let stats: String = info.arg("commandstats").query_async(conn).await.unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_")?.strip_prefix(command));
    let numbers = line.into_iter().flat_map(|line| line[1..].split(','));
    let asked = numbers.filter_map(|number| match number.split_once('=')? {
        ("calls" | "rejected_calls", number) => number.parse::<u64>().ok(),
        _ => None,
    });
    asked.sum()
}

/// How often the server answered with an error of this code.
async fn refusals(conn: &mut Connection, code: &str) -> u64 {
    let mut info = redis::cmd("INFO");
    let stats: String = info.arg("errorstats").query_async(conn).await.unwrap();
    let line = stats.lines().find_map(|line| line.strip_prefix("errorstat_")?.strip_prefix(code));
    line.and_then(|line| line.strip_prefix(":count=")?.parse().ok()).unwrap_or(0)
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    segments.sort();
    segments
}

#[tokio::test]
async fn damage_costs_its_record_alone_and_what_stands_behind_it_is_sent_before_what_is_new() {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    for life in 0..2 {
        let bus = open(config(&server, dir.path())).await;
        publish(&bus, life * 5..life * 5 + 5).await;
        drop(bus);
    }
    let bus = open(config(&server, dir.path())).await;
    assert_eq!(bus.flush_outbox(Duration::ZERO).await, 10);
    drop(bus);
    // A bit in the middle of each segment: within the record 2, and 7.
    for segment in segments(dir.path()) {
        let mut bytes = std::fs::read(&segment).unwrap();
        let middle = bytes.len() / 2 + 5;
        bytes[middle] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    }
    let bus = open(config(&server, dir.path())).await;
    server.restart();
    publish(&bus, 10..13).await;
    assert_eq!(bus.flush_outbox(LONG).await, 0);
    let sent = first_ids(&mut server.connection().await).await;
    assert_eq!(sent, ["0", "1", "3", "4", "5", "6", "8", "9", "10", "11", "12"]);
    let kept = std::fs::read_dir(dir.path()).unwrap();
    let kept = kept.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|extension| extension == "damaged")
    });
    assert_eq!(kept.count(), 2, "the damaged segments are kept");
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_told_to_be_kept_that_is_lost_and_with_redis_all_goes_on() {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    // A file system of its own, that is gone with the program.
    let full = "mount -t tmpfs -o size=256k tmpfs \"$REDIS_OUTBOX_DIR\" && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", full, PROGRAM, "a", "4", "200"]);
    let mut publisher = Publisher::start(command, &server, dir.path(), &[]);
    publisher.has_written(1).await;
    let refused = |line: &String| line.contains(" refused ");
    wait::until("the disk is full", LONG, async || {
        publisher.lines().iter().any(refused).then_some(())
    })
    .await;
    let lines = publisher.lines();
    let reason = lines.iter().find(|line| refused(line)).unwrap();
    assert!(reason.contains("No space left on device"), "{reason}");
    assert!(lines.iter().any(|line| line.ends_with(" spooled")), "{reason}");

    server.restart();
    wait::until("events are published again", LONG, async || {
        publisher.lines().last().unwrap().ends_with(" published").then_some(())
    })
    .await;
    let lines = publisher.lines();
    let kept = lines.iter().filter(|line| !refused(line));
    let kept: BTreeSet<&str> = kept.map(|line| line.split(' ').next().unwrap()).collect();
    let mut conn = server.connection().await;
    wait::until("all that was kept stands in the stream", LONG, async || {
        let sent = ids(&mut conn).await;
        let sent: BTreeSet<&str> = sent.iter().map(String::as_str).collect();
        kept.is_subset(&sent).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_server_drops_that_is_no_primary_any_more_is_sent_again() {
    let (server, dir) = (RedisServer::start(), directory());
    let durability = Durability::Replicated(NonZeroU8::MIN);
    let bus = open(config(&server, dir.path()).with_durability(durability)).await;
    assert_eq!(publish(&bus, [0]).await, [PublishOutcome::Spooled], "there is no replica");
    let mut conn = server.connection().await;
    assert_eq!(ids(&mut conn).await, ["0"]);

    // The new primary, which never had the event.
    let other = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let replicate = async |conn: &mut Connection, host: &str, port: &str| {
        redis::cmd("REPLICAOF").arg(host).arg(port).exec_async(conn).await.unwrap();
    };
    replicate(&mut conn, "127.0.0.1", &other.port().to_string()).await;
    wait::until("the server has what the new primary has", LONG, async || {
        ids(&mut conn).await.is_empty().then_some(())
    })
    .await;
    wait::until("it is sent again, to what is no primary", LONG, async || {
        (refusals(&mut conn, "READONLY").await > 0).then_some(())
    })
    .await;
    replicate(&mut conn, "NO", "ONE").await;
    let mut replica = other.connection().await;
    replicate(&mut replica, "127.0.0.1", &server.port().to_string()).await;
    assert_eq!(bus.flush_outbox(LONG).await, 0);
    assert_eq!(first_ids(&mut conn).await, ["0"]);
}

#[tokio::test]
async fn a_right_that_is_taken_away_costs_no_event_and_makes_no_second_one() {
    // On a busy machine Redis may be late, and what it took is sent again, but not each time.
    wait::until("each stands there once", 2 * LONG, async || {
        let (ids, sent) = sent_without_the_right_to_ask().await;
        (ids == sent).then_some(())
    })
    .await;
}

/// The ids in the stream of events whose sender lost the right to ask for its length meanwhile, and those of the events.
async fn sent_without_the_right_to_ask() -> (Vec<String>, Vec<String>) {
    let (server, dir) = (RedisServer::start(), directory());
    let mut conn = server.connection().await;
    let user = async |conn: &mut Connection, permissions: &[&str]| {
        redis::cmd("ACL").arg("SETUSER").arg("u").arg(permissions).exec_async(conn).await.unwrap();
    };
    user(&mut conn, &["on", ">p", "~*", "+@all"]).await;
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let redis = RedisConfig::new("REDIS_URL", &url, CredentialFiles::default()).unwrap();
    let mut config = config(&server, dir.path());
    config.redis = redis;
    config.retention.hard_cap = Some(HardCap { entries: 20_000, overflow: Overflow::Reject });
    let bus = open(config).await;
    user(&mut conn, &["-xlen"]).await;
    let before = calls(&mut conn, "xlen").await;
    let mut sent = Vec::new();
    wait::until("the length was asked for in vain", LONG, async || {
        sent.push(sent.len().to_string());
        bus.publish_or_spool(event(sent.len() - 1)).await.unwrap();
        (calls(&mut conn, "xlen").await > before).then_some(())
    })
    .await;
    assert_eq!(bus.flush_outbox(LONG).await, 0);
    assert_eq!(first_ids(&mut conn).await, sent);
    (ids(&mut conn).await, sent)
}
