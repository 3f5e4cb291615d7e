//! The example platform: what its services take, refuse, write to the file, and tell the event bus.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::BTreeSet;
use std::time::Duration;

use eventbus::config::BusConfig;
use eventbus::{EntryId, EventBus, GroupName, StreamEvent, StreamKey};
use futures::future::join_all;
use serde_json::{Value, json};
use tests::consumer::{Consumer, SOON, STREAM, settled};
use tests::event_bus::connect;
use tests::programs::Running;
use tests::redis::RedisServer;
use tests::seraaj::{EventsFile, FileEvent, Service};
use tests::wait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Platform {
    server: RedisServer,
    file: EventsFile,
    bus: EventBus,
}

impl Platform {
    async fn start() -> Self {
        let (server, file) = (RedisServer::start(), EventsFile::new());
        let config = BusConfig::new(server.config(), StreamKey::new(STREAM).unwrap());
        let bus = connect(config).await;
        Self { server, file, bus }
    }

    /// With an outbox: on a busy machine Redis may not take an event in time.
    async fn service(&self, name: &str) -> Service {
        let outbox = self.file.outbox(name);
        let settings = [("REDIS_OUTBOX_DIR", outbox.to_str().unwrap())];
        Service::start(name, &self.server.url(), &self.file.path(), &settings).await
    }

    async fn events_since_0(&self) -> Vec<StreamEvent> {
        let group = GroupName::new("applications").unwrap();
        self.bus.get_events_since(&group, EntryId::ZERO).await.unwrap().events
    }

    /// The events in the file, once the same ones, with the same IDs, stand in Redis.
    async fn in_both(&self) -> Vec<FileEvent> {
        let file = self.file.events();
        let of_file: BTreeSet<_> = file.iter().map(of_file).collect();
        wait::until("Redis has what the file has", SOON, async || {
            let redis = self.events_since_0().await;
            (redis.iter().map(of_redis).collect::<BTreeSet<_>>() == of_file).then_some(())
        })
        .await;
        file
    }
}

fn of_file(event: &FileEvent) -> (String, String, String, String) {
    let FileEvent { id, event_type, payload, source } = event.clone();
    (id, event_type, payload.to_string(), source)
}

fn of_redis(event: &StreamEvent) -> (String, String, String, String) {
    let payload = event.payload().json().unwrap().to_string();
    let source = event.source_service().unwrap();
    (event.event_id().to_owned(), event.event_type().to_owned(), payload, source.to_owned())
}

fn types(events: &[FileEvent]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

fn keys(event: &FileEvent) -> BTreeSet<&str> {
    event.payload.as_object().unwrap().keys().map(String::as_str).collect()
}

fn application() -> Value {
    json!({"volunteerId": "v-1", "opportunityId": "library"})
}

#[tokio::test]
async fn an_application_is_told_to_file_and_bus_when_it_is_sent_and_when_it_changes() {
    let platform = Platform::start().await;
    let service = platform.service("applications").await;
    let (status, sent) = service.post("/api/applications", &application()).await;
    let id = sent["applicationId"].as_str().unwrap();
    let path = format!("/api/applications/{id}");
    let changed = service.patch(&path, &json!({"status": "accepted"})).await;
    assert_eq!((status, changed.0, &changed.1["status"]), (201, 200, &json!("accepted")));
    assert_eq!(service.get(&path).await, changed);

    let events = platform.in_both().await;
    let expected = [
        "service.started",
        "application.created",
        "application.submitted",
        "application.state.changed",
    ];
    assert_eq!(types(&events), expected);
    assert!(events.iter().all(|event| event.source == "applications"), "{events:?}");
    let common = ["applicationId", "opportunityId", "status", "volunteerId"];
    let with = |name| common.into_iter().chain([name]).collect::<BTreeSet<_>>();
    assert_eq!(keys(&events[1]), with("createdAt"));
    assert_eq!(keys(&events[2]), with("submittedAt"));
    assert_eq!(events[2].payload["status"], "submitted");
    let payload = &events[3].payload;
    assert_eq!(keys(&events[3]), BTreeSet::from(["applicationId", "changedAt", "from", "status"]));
    assert_eq!((&payload["from"], &payload["status"]), (&json!("submitted"), &json!("accepted")));
    assert!(events[1..].iter().all(|event| event.payload["applicationId"] == id), "{events:?}");
}

#[tokio::test]
async fn a_status_that_an_application_has_already_is_no_event() {
    let platform = Platform::start().await;
    let service = platform.service("applications").await;
    let (_, sent) = service.post("/api/applications", &application()).await;
    let path = format!("/api/applications/{}", sent["applicationId"].as_str().unwrap());
    let (status, _) = service.patch(&path, &json!({"status": "submitted"})).await;
    assert_eq!((status, platform.file.of_type("application.state.changed").len()), (200, 0));
}

#[tokio::test]
async fn changes_of_one_application_at_the_same_time_stand_in_redis_in_the_order_of_the_file() {
    let platform = Platform::start().await;
    let service = platform.service("applications").await;
    let applications = (0..20).map(async |_| {
        let (_, sent) = service.post("/api/applications", &application()).await;
        let path = format!("/api/applications/{}", sent["applicationId"].as_str().unwrap());
        let change = |status| {
            let (service, path) = (&service, path.clone());
            async move { service.patch(&path, &json!({"status": status})).await }
        };
        join_all(["accepted", "withdrawn", "reviewed", "rejected"].map(change)).await;
        sent["applicationId"].as_str().unwrap().to_owned()
    });
    let applications = join_all(applications).await;
    let file = platform.in_both().await;
    // Each at its first place: what Redis did not confirm in time is sent again.
    let mut redis = Vec::new();
    for event in platform.events_since_0().await {
        let id = event.event_id().to_owned();
        if !redis.contains(&id) {
            redis.push(id);
        }
    }
    for id in applications {
        let of_it: Vec<&String> = file
            .iter()
            .filter(|event| event.payload["applicationId"] == *id)
            .map(|event| &event.id)
            .collect();
        let in_redis: Vec<&String> = redis.iter().filter(|id| of_it.contains(id)).collect();
        assert_eq!((in_redis.len(), in_redis), (6, of_it));
    }
}

#[tokio::test]
async fn matches_and_applying_to_one_are_told_under_the_documented_keys() {
    let platform = Platform::start().await;
    let service = platform.service("matching").await;
    let volunteer = json!({"volunteerId": "v-1"});
    let (status, found) = service.post("/api/matching/quick", &volunteer).await;
    assert_eq!((status, found["matches"].as_array().unwrap().len()), (200, 3));
    let opportunity = found["matches"][0]["opportunityId"].as_str().unwrap();
    let path = format!("/api/matching/{opportunity}/apply");
    let (status, applied) = service.post(&path, &volunteer).await;
    assert_eq!(status, 201);

    let events = platform.in_both().await;
    let expected = ["service.started", "match.suggestions.generated", "match.suggestion.applied"];
    assert_eq!(types(&events), expected);
    assert!(events.iter().all(|event| event.source == "matching"), "{events:?}");
    assert_eq!((&events[1].payload, &events[2].payload), (&found, &applied));
    let generated = ["generatedAt", "matchCount", "matches", "volunteerId"];
    assert_eq!(keys(&events[1]), BTreeSet::from(generated));
    let applied = ["applicationId", "appliedAt", "opportunityId", "volunteerId"];
    assert_eq!(keys(&events[2]), BTreeSet::from(applied));
}

#[tokio::test]
async fn a_volunteer_registers_and_logs_in_and_no_event_has_the_name_or_the_password() {
    let platform = Platform::start().await;
    let service = platform.service("bff").await;
    let (status, sent) = service.post("/api/volunteers", &json!({"name": "Rumpel"})).await;
    let id = &sent["volunteerId"];
    let login = json!({"volunteerId": id, "password": "Stilz-chen"});
    assert_eq!((status, service.post("/api/login", &login).await.0), (201, 200));

    let events = platform.in_both().await;
    assert_eq!(types(&events), ["service.started", "volunteer.registered", "user.login"]);
    assert!(events[1..].iter().all(|event| event.payload["volunteerId"] == *id), "{events:?}");
    let all = format!("{}{events:?}", service.output());
    assert!(!all.contains("Rumpel") && !all.contains("Stilz"), "{all}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_reason_and_publishes_nothing() {
    let platform = Platform::start().await;
    let [applications, matching, bff] =
        join_all(["applications", "matching", "bff"].map(|name| platform.service(name)))
            .await
            .try_into()
            .unwrap_or_else(|_| panic!("there are three"));
    let posts = [
        (&applications, "/api/applications"),
        (&matching, "/api/matching/quick"),
        (&matching, "/api/matching/library/apply"),
        (&bff, "/api/volunteers"),
        (&bff, "/api/login"),
    ];
    let long = json!({"volunteerId": "v".repeat(129), "name": "n".repeat(129)}).to_string();
    let empty = r#"{"volunteerId": "", "name": ""}"#;
    let numbers = r#"{"volunteerId": 5, "opportunityId": 5, "name": 5}"#;
    let deep = "[".repeat(100_000);
    for (service, path) in posts {
        let bodies =
            ["", "{", "null", "[]", "\"text\"", "{}", "\u{feff}{}", &deep, &long, empty, numbers];
        for body in bodies {
            let (status, answer) = service.post_text(path, body.to_owned()).await;
            let reason = answer["error"].as_str().unwrap();
            assert!(
                (400..500).contains(&status) && !reason.is_empty(),
                "{path} {body:.50}: {answer}"
            );
        }
        let (status, answer) = service.post_text(path, vec![0xff; 100]).await;
        assert_eq!((status, answer["error"].is_string()), (400, true), "{path}");
        let (status, answer) = service.post_text(path, vec![b' '; 10_000_000]).await;
        assert_eq!((status, answer["error"].is_string()), (413, true), "{path}");
    }
    let unknown = [
        applications.get("/api/applications/nobody").await,
        applications.get("/api/applications/%ff").await,
        applications.patch("/api/applications/nobody", &json!({"status": "accepted"})).await,
        matching.post("/api/matching/nothing/apply", &json!({"volunteerId": "v"})).await,
        bff.post("/api/login", &json!({"volunteerId": "nobody", "password": "p"})).await,
        bff.get("/api/nothing").await,
    ];
    for (status, answer) in unknown {
        assert_eq!((status, answer["error"].is_string()), (404, true), "{answer}");
    }
    let (status, answer) = applications.get("/api/applications").await;
    assert_eq!((status, answer["error"].is_string()), (405, true), "{answer}");
    let (_, sent) = applications.post("/api/applications", &application()).await;
    let path = format!("/api/applications/{}", sent["applicationId"].as_str().unwrap());
    let (status, answer) = applications.patch(&path, &json!({"status": "odd"})).await;
    assert_eq!((status, answer["error"].is_string()), (400, true), "{answer}");

    let events = platform.in_both().await;
    let others = events.iter().filter(|event| event.event_type != "service.started");
    assert_eq!(others.count(), 2, "created and submitted of the one application: {events:?}");
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_read_so_that_its_sender_reads_the_answer() {
    let platform = Platform::start().await;
    let applications = platform.service("applications").await;
    for (path, expected) in [
        ("/api/nothing", 404),
        ("/api/applications/x", 405),
        ("/api/applications/%ff", 405),
        ("/events", 413),
    ] {
        let (status, answer) = applications.post_text(path, vec![b' '; 10_000_000]).await;
        assert_eq!((status, answer["error"].is_string()), (expected, true), "{path}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_fails_the_start_because_the_file_comes_first() {
    let server = RedisServer::start();
    let url = server.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_STREAM_NAME", STREAM),
        ("LISTEN", "127.0.0.1:0"),
        ("SERAAJ_EVENTS_FILE", "/dev/full"),
    ];
    let mut service = Running::start("seraaj", &["applications"], &settings);
    assert_eq!(service.ended(SOON).await.code(), Some(1), "{}", service.output());
    let length: u64 =
        redis::cmd("XLEN").arg(STREAM).query_async(&mut server.connection().await).await.unwrap();
    assert_eq!(length, 0);
}

#[tokio::test]
async fn a_handled_event_is_printed_once_however_often_it_comes() {
    let platform = Platform::start().await;
    let service = platform.service("applications").await;
    let submitted = r#"{"applicationId": "a-1"}"#;
    let changed = r#"{"applicationId": "a-1", "status": "accepted"}"#;
    for _ in 0..3 {
        assert_eq!(service.deliver("1", "application.submitted", submitted).await, 200);
        assert_eq!(service.deliver("2", "application.state.changed", changed).await, 200);
        assert_eq!(service.deliver("3", "user.login", "{}").await, 200);
    }
    let lines: Vec<_> =
        service.output().lines().filter(|line| line.contains("a-1")).map(str::to_owned).collect();
    assert_eq!(lines, ["New application submitted: a-1", "Application a-1 changed to accepted"]);
    assert_eq!(service.metric("seraaj_events_received_total").await, Some(3));
    assert_eq!(service.metric("seraaj_events_repeated_total").await, Some(6));
    assert_eq!(service.deliver("4", "application.submitted", "{}").await, 400);
    assert_eq!(service.deliver("5", "user.login", "no JSON").await, 400);
    assert_eq!(service.deliver("", "user.login", "{}").await, 400);
    assert_eq!(service.deliver(&"6".repeat(257), "user.login", "{}").await, 400);
}

#[tokio::test]
async fn the_consumer_image_brings_events_to_a_service_and_the_library_to_the_consumer() {
    let platform = Platform::start().await;
    let service = platform.service("applications").await;
    let _image = Consumer::start(&platform.server, &service.url("/events"), &[]);
    let url = platform.server.url();
    let settings = [("REDIS_URL", url.as_str()), ("REDIS_STREAM_NAME", STREAM)];
    let mut consumer = Running::start("seraaj", &["consumer"], &settings);
    let (_, sent) = service.post("/api/applications", &application()).await;
    let id = sent["applicationId"].as_str().unwrap();
    let path = format!("/api/applications/{id}");
    service.patch(&path, &json!({"status": "reviewed"})).await;

    settled(&mut platform.server.connection().await).await;
    let group = GroupName::new("applications").unwrap();
    let all_acknowledged = async || {
        wait::until("the consumer has acknowledged all", SOON, async || {
            let info = platform.bus.get_consumer_group_info(&group).await.unwrap()?;
            (info.lag == Some(0) && info.pending == 0).then_some(())
        })
        .await;
    };
    all_acknowledged().await;
    let lines = [
        format!("New application submitted: {id}"),
        format!("Application {id} changed to reviewed"),
    ];
    for output in [service.output(), consumer.output()] {
        for line in &lines {
            assert_eq!(output.lines().filter(|l| l == line).count(), 1, "{line}: {output}");
        }
    }
    let info = platform.bus.get_consumer_group_info(&group).await.unwrap().unwrap();
    assert!(info.consumers[0].name.starts_with("app-consumer-1/"), "{info:?}");
    // The same event once more, as after a publish that got no answer.
    let mut conn = platform.server.connection().await;
    let submitted = platform.file.of_type("application.submitted").remove(0);
    let payload = submitted.payload.to_string();
    let fields = [("type", "application.submitted"), ("payload", &payload), ("id", &submitted.id)];
    redis::cmd("XADD").arg(STREAM).arg("*").arg(&fields).exec_async(&mut conn).await.unwrap();
    settled(&mut conn).await;
    all_acknowledged().await;
    for output in [service.output(), consumer.output()] {
        assert_eq!(output.matches("New application submitted").count(), 1, "{output}");
    }
    consumer.terminate();
    assert!(consumer.ended(SOON).await.success(), "{}", consumer.output());
}

#[tokio::test]
async fn services_start_and_serve_without_redis_and_find_it_later() {
    let mut platform = Platform::start().await;
    platform.server.stop();
    let applications = platform.service("applications").await;
    let bff = platform.service("bff").await;
    for _ in 0..20 {
        // While there is no Redis: nothing is waited for that does not come.
        let (status, _) = applications.post("/api/applications", &application()).await;
        assert_eq!(status, 201);
    }
    assert_eq!(platform.file.of_type("application.submitted").len(), 20);
    let (status, health) = bff.get("/api/health/events").await;
    assert_eq!((status, &health["redis_connected"]), (200, &json!(false)));

    platform.server.restart();
    wait::until("Redis is told of events again", SOON, async || {
        applications.post("/api/applications", &application()).await;
        let events = platform.bus.get_stream_info().await.ok()?;
        (events.length > 0).then_some(())
    })
    .await;
    let health = wait::until("the bff finds Redis", SOON, async || {
        let (_, health) = bff.get("/health/events").await;
        (health["redis_connected"] == true).then_some(health)
    })
    .await;
    let groups: Vec<_> = health["consumer_groups"].as_object().unwrap().keys().collect();
    assert_eq!(groups, ["applications", "bff", "matching"]);
}

#[tokio::test]
async fn a_service_that_is_asked_to_end_answers_the_request_that_it_has_begun() {
    let platform = Platform::start().await;
    let mut service = platform.service("applications").await;
    // So that nothing else holds its end up.
    platform.in_both().await;
    let body = application().to_string();
    let mut request = begun(&service, "/api/applications", body.len()).await;
    service.terminate();
    wait::until("it takes no request more", SOON, async || {
        TcpStream::connect(service.address()).await.is_err().then_some(())
    })
    .await;
    // Time is what is tested: a service that does not wait has ended by then, and this one may wait for 2 s.
    tokio::time::sleep(Duration::from_millis(200)).await;
    request.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    wait::within("it answers", SOON, request.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(service.ended().await.success(), "{}", service.output());
    assert_eq!(platform.file.of_type("application.submitted").len(), 1);
}

/// A POST request whose body is still to be written, and is waited for by the service.
async fn begun(service: &Service, path: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(service.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A server says so once it begins to read the body.
    let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut answer = vec![0; expected.len()];
    wait::within("it asks for the body", SOON, stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, expected);
    stream
}
