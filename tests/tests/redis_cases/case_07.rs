//! An event that the server refuses for its own sake, in the outbox before others and by a direct publish.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use eventbus::config::BusConfig;
use eventbus::{EventBus, Metrics, NewEvent, Payload, PublishOutcome, SetAsideEvent};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tests::limited::{LimitedHost, TooLarge};
use tests::outbox::{self, directory, event, first_ids, ids, publish};
use tests::redis::RedisServer;
use tests::subscriber::{LONG, command};
use tests::wait;

const LIMIT: usize = 500_000;
const UPSTASH: TooLarge =
    TooLarge::Answer("ERR max request size exceeded. Limit: 500000 bytes, Actual: 1000123 bytes");
const UNKNOWN: TooLarge = TooLarge::Answer("ERR your request is not welcome on this plan");

fn numbers(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// An event beyond the limit.
fn large(n: usize) -> NewEvent {
    let mut event = event(n);
    event.payload = Payload::from_text(format!("\"{}\"", "x".repeat(1_000_000))).unwrap();
    event
}

fn through(host: &LimitedHost, server: &RedisServer, dir: &Path) -> BusConfig {
    let mut config = outbox::config(server, dir);
    config.redis = host.config();
    config
}

/// Fills an outbox while the server is stopped: so many large events, then small ones.
async fn backlog(server: &mut RedisServer, dir: &Path, large_events: usize, small: usize) {
    server.stop();
    let bus = outbox::open(outbox::config(server, dir)).await;
    for n in 0..large_events {
        bus.publish_or_spool(large(n)).await.unwrap();
    }
    publish(&bus, large_events..large_events + small).await;
    drop(bus);
    server.restart();
}

async fn sent(bus: &EventBus) {
    assert_eq!(bus.flush_outbox(LONG).await, 0, "events are still unsent");
}

/// Sends events that were set aside until so many were taken. On a busy machine Redis may be late, and an event be sent
/// again.
async fn send_aside(bus: &EventBus, event_id: Option<&str>, events: u64) {
    let mut taken = 0;
    wait::until("they are sent", LONG, async || {
        taken += bus.send_set_aside(event_id).await.unwrap_or(0);
        (taken >= events || aside(bus).await.is_empty()).then_some(())
    })
    .await;
}

/// IDs of the events that were set aside.
async fn aside(bus: &EventBus) -> Vec<String> {
    let events = bus.set_aside_events().await.unwrap();
    events.into_iter().map(|event| event.event_id).collect()
}

#[tokio::test]
async fn case_07_an_event_that_is_too_large_for_the_host_goes_aside_and_those_behind_it_are_sent() {
    let (mut server, dir) = (RedisServer::start(), directory());
    backlog(&mut server, dir.path(), 1, 20).await;
    let host = LimitedHost::start(&server, LIMIT, UPSTASH).await;
    let (metrics, logged) = (&mut Registry::default(), Log::default());
    let bus = {
        let _logging = logged.begin();
        let metrics = Metrics::register(metrics);
        let config = through(&host, &server, dir.path());
        let open =
            async || EventBus::builder(config.clone()).metrics(&metrics).connect_lazy().await.ok();
        let bus = wait::until("the outbox is free", LONG, open).await;
        sent(&bus).await;
        bus
    };
    let mut conn = server.connection().await;
    assert_eq!(first_ids(&mut conn).await, numbers(1..=20));
    let [aside] = <[SetAsideEvent; 1]>::try_from(bus.set_aside_events().await.unwrap()).unwrap();
    assert_eq!((aside.event_id.as_str(), aside.event_type.as_str(), aside.tries), ("0", "t", 5));
    assert!((1_000_000..1_001_000).contains(&aside.bytes), "{aside:?}");
    assert!(aside.cause.contains("max request size exceeded"), "{aside:?}");
    assert!(aside.time > jiff::Timestamp::UNIX_EPOCH, "{aside:?}");
    let mut text = String::new();
    encode(&mut text, metrics).unwrap();
    assert!(text.contains("eventbus_outbox_set_aside_total{stream=\"s\"} 1"), "{text}");
    let line = logged.line("set an event of the outbox aside");
    for part in ["event_id=\"0\"", "event_type=\"t\"", "max request size exceeded"] {
        assert!(line.contains(part), "{part}: {line}");
    }

    // It stays where it is as long as it is refused.
    wait::until("it is refused again", LONG, async || {
        let error = bus.send_set_aside(None).await.unwrap_err();
        (!error.is_transient()).then_some(())
    })
    .await;
    assert_eq!(bus.set_aside_events().await.unwrap(), [aside]);
    host.allow(usize::MAX);
    assert_eq!(bus.send_set_aside(Some("another")).await.unwrap(), 0);
    send_aside(&bus, Some("0"), 1).await;
    assert_eq!(bus.set_aside_events().await.unwrap(), []);
    assert_eq!(ids(&mut conn).await.last().unwrap(), "0");
}

#[tokio::test]
async fn case_07_a_host_that_closes_the_connection_on_such_an_event_holds_nothing_back() {
    let (mut server, dir) = (RedisServer::start(), directory());
    backlog(&mut server, dir.path(), 1, 2).await;
    let host = LimitedHost::start(&server, LIMIT, TooLarge::Close).await;
    let bus = outbox::open(through(&host, &server, dir.path())).await;
    sent(&bus).await;
    assert_eq!(first_ids(&mut server.connection().await).await, numbers(1..=2));
    assert_eq!(aside(&bus).await, ["0"]);
    host.allow(usize::MAX);
    send_aside(&bus, None, 1).await;
    assert_eq!(aside(&bus).await, [""; 0]);
}

#[tokio::test]
async fn case_07_a_real_server_with_a_smaller_limit_refuses_the_event_alone() {
    let (mut server, dir) = (RedisServer::start(), directory());
    server.stop();
    let bus = outbox::open(outbox::config(&server, dir.path())).await;
    publish(&bus, [0]).await;
    // The least that the server's limit for one string may be is our limit for a payload.
    let key = "k".repeat(1_500_000);
    bus.publish_or_spool({
        let mut large = event(1);
        large.key = Some(key);
        large
    })
    .await
    .unwrap();
    publish(&bus, 2..10).await;
    drop(bus);
    server.restart();
    let mut conn = server.connection().await;
    command(&mut conn, "CONFIG SET proto-max-bulk-len 1048576").await;
    let bus = outbox::open(outbox::config(&server, dir.path())).await;
    sent(&bus).await;
    let expected: Vec<String> = (0..10).filter(|n| *n != 1).map(|n| n.to_string()).collect();
    assert_eq!(first_ids(&mut conn).await, expected);
    assert_eq!(aside(&bus).await, ["1"]);
    command(&mut conn, "CONFIG SET proto-max-bulk-len 536870912").await;
    send_aside(&bus, None, 1).await;
}

#[tokio::test]
async fn case_07_a_host_that_refuses_every_event_moves_no_backlog_aside() {
    let (mut server, dir) = (RedisServer::start(), directory());
    backlog(&mut server, dir.path(), 0, 20).await;
    let host = LimitedHost::start(&server, 80, UNKNOWN).await;
    let bus = outbox::open(through(&host, &server, dir.path())).await;
    wait::until("eight are set aside", 2 * LONG, async || {
        (aside(&bus).await.len() >= 8).then_some(())
    })
    .await;
    let refused = host.refused();
    wait::until("it is refused again and again", LONG, async || {
        (host.refused() >= refused + 5).then_some(())
    })
    .await;
    assert_eq!(aside(&bus).await.len(), 8);
    host.allow(usize::MAX);
    sent(&bus).await;
    send_aside(&bus, None, 8).await;
    let mut sent = ids(&mut server.connection().await).await;
    sent.sort_by_key(|id| id.parse::<usize>().unwrap());
    sent.dedup();
    assert_eq!(sent, numbers(0..=19));
}

#[tokio::test]
async fn case_07_a_lack_of_memory_or_permission_or_a_key_of_another_type_sets_nothing_aside() {
    let refusals = [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"),
        ("SET s 1", "DEL s", "WRONGTYPE"),
        ("ACL SETUSER default -xadd", "ACL SETUSER default +@all", "NOPERM"),
    ];
    futures::future::join_all(refusals.map(sets_nothing_aside)).await;
}

/// Checks that events wait in their order from one command until the other, which end and begin what the server refuses
/// with this code.
async fn sets_nothing_aside((refuse, accept, code): (&str, &str, &str)) {
    let (server, dir) = (RedisServer::start(), directory());
    let mut conn = server.connection().await;
    let bus = outbox::open(outbox::config(&server, dir.path())).await;
    command(&mut conn, refuse).await;
    publish(&bus, 0..2).await;
    // Each try of both is two errors.
    wait::until(code, LONG, async || (errors(&mut conn, code).await >= 12).then_some(())).await;
    command(&mut conn, accept).await;
    sent(&bus).await;
    assert_eq!(aside(&bus).await, [""; 0], "{code}");
    assert_eq!(first_ids(&mut conn).await, ["0", "1"], "{code}");
}

#[tokio::test]
async fn case_07_a_host_that_refuses_the_command_itself_sets_nothing_aside() {
    let kinds = [UNKNOWN, TooLarge::Close].map(|too_large| async {
        let (mut server, dir) = (RedisServer::start(), directory());
        backlog(&mut server, dir.path(), 0, 2).await;
        // A login passes, and no XADD whatever is in it.
        let host = LimitedHost::start(&server, 30, too_large).await;
        let bus = outbox::open(through(&host, &server, dir.path())).await;
        wait::until("it is refused again and again", LONG, async || {
            (host.refused() >= 8).then_some(())
        })
        .await;
        assert_eq!(aside(&bus).await, [""; 0]);
        host.allow(usize::MAX);
        sent(&bus).await;
        assert_eq!(first_ids(&mut server.connection().await).await, ["0", "1"]);
    });
    futures::future::join_all(kinds).await;
}

/// Number of errors with this code that the server answered.
async fn errors(conn: &mut eventbus::admin::Connection, code: &str) -> u64 {
    let info: String = redis::cmd("INFO").arg("errorstats").query_async(conn).await.unwrap();
    let line = info.lines().find_map(|line| {
        line.strip_prefix("errorstat_")?.strip_prefix(code)?.strip_prefix(":count=")
    });
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn case_07_after_a_crash_before_the_position_is_written_the_event_is_aside_once_and_not_lost()
{
    let (mut server, dir) = (RedisServer::start(), directory());
    backlog(&mut server, dir.path(), 1, 20).await;
    let before = files(dir.path());
    let host = LimitedHost::start(&server, LIMIT, UPSTASH).await;
    let bus = outbox::open(through(&host, &server, dir.path())).await;
    sent(&bus).await;
    assert_eq!(aside(&bus).await, ["0"]);
    drop(bus);
    let after = files(dir.path());

    // The segments and the position from before, the event aside; and an incomplete file of another one.
    for (name, bytes) in before.iter().filter(|(name, _)| name != "lock") {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let (name, whole) = after.iter().find(|(name, _)| name.ends_with(".aside")).unwrap();
    let torn = dir.path().join(format!("{name}.new"));
    std::fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    let bus = outbox::open(through(&host, &server, dir.path())).await;
    sent(&bus).await;
    assert_eq!(aside(&bus).await, ["0"]);
    assert!(!torn.exists());
    host.allow(usize::MAX);
    send_aside(&bus, None, 1).await;
    let mut sent = first_ids(&mut server.connection().await).await;
    sent.sort_by_key(|id| id.parse::<usize>().unwrap());
    assert_eq!(sent, numbers(0..=20));
}

#[tokio::test]
async fn case_07_an_event_aside_is_not_replaced_by_another_after_the_segments_are_lost() {
    let (mut server, dir) = (RedisServer::start(), directory());
    let host = LimitedHost::start(&server, LIMIT, UPSTASH).await;
    for round in 0..2 {
        backlog(&mut server, dir.path(), 1, 0).await;
        let bus = outbox::open(through(&host, &server, dir.path())).await;
        sent(&bus).await;
        assert_eq!(aside(&bus).await.len(), round + 1);
        drop(bus);
        for (name, _) in files(dir.path()).iter().filter(|(name, _)| !name.ends_with(".aside")) {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}

/// Names and bytes of the files in a directory.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let read = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

#[tokio::test]
async fn case_07_a_direct_publish_of_such_an_event_is_refused_for_good() {
    let server = RedisServer::start();
    for refusal in [UPSTASH, UNKNOWN] {
        let host = LimitedHost::start(&server, LIMIT, refusal).await;
        let stream = eventbus::StreamKey::new("s").unwrap();
        let bus = tests::event_bus::connect(BusConfig::new(host.config(), stream)).await;
        // On a busy machine Redis may be late.
        let error = wait::until("it is refused", LONG, async || {
            let error = bus.publish_event(large(0)).await.unwrap_err();
            (!error.is_transient()).then_some(error)
        })
        .await;
        assert_eq!(error.code(), Some("ERR"), "{error:?}");
        let published = async || bus.publish_or_spool(event(1)).await.ok();
        let outcome = wait::until("others are published", LONG, published).await;
        assert!(matches!(outcome, PublishOutcome::Published(_)), "{outcome:?}");
    }
}

/// Log lines of the tasks of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin(&self) -> (tracing::Dispatch, tracing::subscriber::DefaultGuard) {
        let log = self.clone();
        // With a single subscriber `tracing` asks the thread that meets a line first, which may be another test's, whether
        // anybody wants it.
        let second = tracing::Dispatch::new(tracing_subscriber::registry());
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone());
        (second, tracing::subscriber::set_default(subscriber.finish()))
    }

    fn line(&self, text: &str) -> String {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let mut lines = log.lines().filter(|line| line.contains(text));
        let line = lines.next().unwrap_or_else(|| panic!("{text} is not logged:\n{log}"));
        assert_eq!(lines.next(), None, "{log}");
        line.to_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
