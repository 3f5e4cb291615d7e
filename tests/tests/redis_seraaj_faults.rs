//! Dual publishing where one of the two fails: the platform's file and the event bus, as real processes have them.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use eventbus::config::BusConfig;
use eventbus::{EntryId, EventBus, GroupName, StreamKey};
use serde_json::{Value, json};
use tests::consumer::{SOON, STREAM};
use tests::event_bus::connect;
use tests::redis::RedisServer;
use tests::seraaj::{EventsFile, Service};
use tests::wait;

/// So that what Redis has confirmed outlives it.
const AOF: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn application() -> Value {
    json!({"volunteerId": "v-1", "opportunityId": "library"})
}

/// Sends applications, each of which is two events, and all of which are taken.
async fn apply(service: &Service, times: usize) {
    for _ in 0..times {
        let (status, answer) = service.post("/api/applications", &application()).await;
        assert_eq!(status, 201, "{answer}");
    }
}

fn ids_in_file(file: &EventsFile) -> Vec<String> {
    file.events().into_iter().map(|event| event.id).collect()
}

/// In the order of the stream, each at its first place: what Redis did not confirm in time is sent again.
async fn ids_in_redis(bus: &EventBus) -> Vec<String> {
    let group = GroupName::new("applications").unwrap();
    let page = bus.get_events_since(&group, EntryId::ZERO).await.unwrap();
    assert!(!page.more);
    let mut seen = BTreeSet::new();
    let ids = page.events.iter().map(|event| event.event_id().to_owned());
    ids.filter(|id| seen.insert(id.clone())).collect()
}

async fn bus_on(server: &RedisServer) -> EventBus {
    let stream = StreamKey::new(STREAM).unwrap();
    connect(BusConfig::new(server.config(), stream)).await
}

#[tokio::test]
async fn f49_with_an_outbox_redis_gets_all_that_stands_in_the_file_with_its_ids_and_in_its_order() {
    let (mut server, file) = (RedisServer::start_with(&AOF), EventsFile::new());
    let outbox = file.outbox("applications");
    let settings = [("REDIS_OUTBOX_DIR", outbox.to_str().unwrap())];
    let service = Service::start("applications", &server.url(), &file.path(), &settings).await;
    let all_are_sent = async || {
        wait::until("the outbox is empty", SOON, async || {
            (service.metric("eventbus_outbox_waiting_events").await == Some(0)).then_some(())
        })
        .await;
    };
    apply(&service, 3).await;
    all_are_sent().await;
    server.stop();
    apply(&service, 5).await;
    assert_eq!(service.metric("eventbus_outbox_waiting_events").await, Some(10));
    let output = service.output();
    let output = output.lines().filter(|line| line.contains("cannot connect to Redis; retrying"));
    let refused = output.filter(|line| line.contains("Connection refused")).count();
    assert!(refused <= 1, "each of its connections says the same: {}", service.output());
    server.restart();
    apply(&service, 2).await;
    all_are_sent().await;
    assert_eq!(ids_in_redis(&bus_on(&server).await).await, ids_in_file(&file));
    assert_eq!(service.metric("seraaj_bus_failures_total").await.unwrap_or(0), 0);
}

#[tokio::test]
async fn f49_what_redis_did_not_take_is_counted_and_the_ids_tell_which_events_that_are() {
    let (mut server, file) = (RedisServer::start_with(&AOF), EventsFile::new());
    let service = Service::start("applications", &server.url(), &file.path(), &[]).await;
    let bus = bus_on(&server).await;
    // On a busy machine some may not be taken in time; then they are counted too.
    wait::until("Redis has taken some", SOON, async || {
        apply(&service, 2).await;
        (!ids_in_redis(&bus).await.is_empty()).then_some(())
    })
    .await;
    let before = ids_in_file(&file);
    server.stop();
    apply(&service, 5).await;
    let after: BTreeSet<_> = ids_in_file(&file).into_iter().skip(before.len()).collect();
    assert_eq!(after.len(), 10);
    server.restart();

    let redis: BTreeSet<_> = ids_in_redis(&bus_on(&server).await).await.into_iter().collect();
    let all = ids_in_file(&file);
    let missing: BTreeSet<_> = all.iter().filter(|id| !redis.contains(*id)).cloned().collect();
    assert!(missing.is_superset(&after), "{missing:?} {after:?}");
    let failures = service.metric("seraaj_bus_failures_total").await.unwrap();
    let (fewest, all) = (missing.len() as u64, all.len() as u64);
    assert!((fewest..all).contains(&failures), "{failures} for {missing:?} of {all}");
    let output = service.output();
    assert!(
        output.contains("cannot publish the event to the bus; it is only in the file"),
        "{output}"
    );
}

/// A file that can be written as long as its reader is there: a process of its own, so that no other one that is being
/// started has the file open too.
struct Pipe {
    path: PathBuf,
    reader: Child,
}

impl Pipe {
    fn new(directory: &Path) -> Self {
        let path = directory.join("events");
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let reader = Command::new("cat").arg(&path).stdout(Stdio::null()).spawn().unwrap();
        Self { path, reader }
    }

    fn break_off(&mut self) {
        // It may have ended by itself.
        self.reader.kill().ok();
        self.reader.wait().unwrap();
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.break_off();
    }
}

#[tokio::test]
async fn f49_what_the_file_does_not_take_is_told_to_nobody() {
    let (server, directory) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let mut pipe = Pipe::new(directory.path());
    let outbox = directory.path().join("outbox");
    let settings = [("REDIS_OUTBOX_DIR", outbox.to_str().unwrap())];
    let service = Service::start("applications", &server.url(), &pipe.path, &settings).await;
    let bus = bus_on(&server).await;
    wait::until("the start is told", SOON, async || {
        (ids_in_redis(&bus).await.len() == 1).then_some(())
    })
    .await;
    pipe.break_off();
    let (status, answer) = service.post("/api/applications", &application()).await;
    assert_eq!((status, answer["error"].is_string()), (500, true), "{answer}");
    assert_eq!(ids_in_redis(&bus).await.len(), 1);
    let output = service.output();
    assert!(output.contains("cannot write to the event file"), "{output}");
}

#[tokio::test]
async fn f34_a_full_stream_fails_no_request_and_the_file_is_written_all_the_same() {
    let (server, file) = (RedisServer::start(), EventsFile::new());
    let settings =
        [("REDIS_TRIM", "none"), ("REDIS_MAX_ENTRIES", "100"), ("REDIS_HARD_MAX_ENTRIES", "300")];
    let mut conn = server.connection().await;
    for _ in 0..400 {
        let mut add = redis::cmd("XADD");
        add.arg(STREAM).arg(&["*", "type", "t", "payload", "{}"]);
        add.exec_async(&mut conn).await.unwrap();
    }
    let service = Service::start("applications", &server.url(), &file.path(), &settings).await;
    apply(&service, 3).await;
    assert_eq!(file.of_type("application.submitted").len(), 3);
    let failed = async |labels: &str| {
        service.metric(&format!("seraaj_bus_failures_total{labels}")).await.unwrap_or(0)
    };
    // The start and the first application ask at the same time, and one of them asks for room: the other may pass.
    wait::until("each event is refused, and counted, or stands there", SOON, async || {
        let length: u64 = redis::cmd("XLEN").arg(STREAM).query_async(&mut conn).await.unwrap();
        (length - 400 + failed("").await >= 7).then_some(())
    })
    .await;
    // On a busy machine some may have failed for another reason.
    wait::until("events are refused for want of room", SOON, async || {
        let refused = failed(r#"{error="stream_full"}"#).await;
        if refused < 4 {
            apply(&service, 1).await;
        }
        (refused >= 4).then_some(())
    })
    .await;
}
