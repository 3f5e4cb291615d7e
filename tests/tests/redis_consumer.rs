//! `consumer run` as a real process, against a real server and a real HTTP handler: what becomes of each event.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventbus::{Answer, Delivery, GroupName, RawEntry, StreamEvent, StreamKey};
use eventbus_consumer::handler::dial::{DialPolicy, HandlerUrl};
use eventbus_consumer::handler::http::{HttpHandler, HttpSettings};
use eventbus_consumer::handler::request::Format;
use prometheus_client::metrics::counter::Counter;
use tests::consumer::{Consumer, SOON, add, dead_letters, pending, publish, settled};
use tests::handler::{Handler, Reply, Reserved};
use tests::redis::RedisServer;
use tests::wait;

const SUBMITTED: &str = "application.submitted";

#[tokio::test]
async fn each_event_reaches_the_handler_as_a_cloud_event_and_is_acknowledged() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    let payload = r#"{"applicationId": "a-1",  "score": 1.0}"#;
    let id = publish(&mut conn, SUBMITTED, payload).await;
    let _consumer = Consumer::start(&server, &handler.url(), &[]);

    let requests = handler.received(1).await;
    settled(&mut conn).await;

    let request = &requests[0];
    assert_eq!(request.body, payload);
    let expected = [
        ("ce-specversion", "1.0"),
        ("ce-id", &format!("s/{id}")),
        ("ce-type", SUBMITTED),
        ("ce-source", "applications"),
        ("content-type", "application/json"),
        ("idempotency-key", &format!("s/{id}")),
        ("x-event-entry-id", &id),
        ("x-event-attempt", "1"),
        ("x-event-group", "g"),
        ("x-event-stream", "s"),
    ];
    for (name, value) in expected {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert_eq!(handler.requests().len(), 1);
}

#[tokio::test]
async fn an_event_is_acknowledged_only_after_the_handler_answered_2xx() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.answer([Reply::status(500)]);
    let _consumer = Consumer::start(&server, &handler.url(), &[]);
    publish(&mut conn, SUBMITTED, "{}").await;

    let requests = handler.received(3).await;
    assert_eq!(pending(&mut conn).await, Some(1));
    handler.answer([Reply::status(202)]);
    settled(&mut conn).await;

    let attempts: Vec<&str> = requests[..3].iter().map(|r| r.header("x-event-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_handler_that_has_not_answered_yet_holds_the_acknowledgement() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.hold();
    let _consumer = Consumer::start(&server, &handler.url(), &[]);
    publish(&mut conn, SUBMITTED, "{}").await;

    handler.received(1).await;
    assert_eq!(pending(&mut conn).await, Some(1));
    handler.release();
    settled(&mut conn).await;
}

#[tokio::test]
async fn an_event_that_the_handler_refuses_becomes_a_dead_letter_at_once() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.answer([Reply::status(422).body("no such opportunity\n")]);
    let _consumer = Consumer::start(&server, &handler.url(), &[]);
    let fields: [(&str, &[u8]); 3] =
        [("type", b"application.submitted"), ("payload", b"{ \"a\":1}"), ("odd", b"\xff\x00")];
    let id = add(&mut conn, &fields).await;

    let letters = dead_letters(&mut conn, 1).await;
    settled(&mut conn).await;

    let letter: BTreeMap<&str, &[u8]> =
        letters[0].iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    for (name, value) in fields {
        assert_eq!(letter[name], value, "{name}");
    }
    assert_eq!(letter["dlq.id"], id.as_bytes());
    assert_eq!(letter["dlq.group"], b"g");
    assert_eq!(letter["dlq.attempts"], b"1");
    assert_eq!(letter["dlq.reason"], b"rejected");
    let error = r"the handler answered 422: no such opportunity\n";
    assert_eq!(letter["dlq.error"], error.as_bytes());
    assert_eq!((letters.len(), handler.requests().len()), (1, 1));
}

#[tokio::test]
async fn what_is_no_event_becomes_a_dead_letter_and_the_others_flow() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    add(&mut conn, &[("payload", b"{}")]).await;
    add(&mut conn, &[("type", b"user.login"), ("payload", b"{not json")]).await;
    add(&mut conn, &[("type", b"user.login"), ("payload", b"\"\xff\"")]).await;
    publish(&mut conn, SUBMITTED, "{}").await;
    let _consumer = Consumer::start(&server, &handler.url(), &[]);

    let requests = handler.received(1).await;
    let letters = dead_letters(&mut conn, 3).await;
    settled(&mut conn).await;

    assert_eq!(requests[0].header("ce-type"), SUBMITTED);
    let payloads: BTreeSet<&[u8]> = letters
        .iter()
        .filter_map(|letter| letter.iter().find(|(name, _)| name == "payload"))
        .map(|(_, value)| value.as_slice())
        .collect();
    let expected: [&[u8]; 3] = [b"{}", b"{not json", b"\"\xff\""];
    assert_eq!(payloads, expected.into());
    assert_eq!(handler.requests().len(), 1);
}

#[tokio::test]
async fn events_of_other_types_are_acknowledged_and_not_handed_over() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    for event_type in ["user.login", "application.created", "volunteer.registered"] {
        publish(&mut conn, event_type, "{}").await;
    }
    let types = [("EVENT_TYPES", "application.*, match.*")];
    let _consumer = Consumer::start(&server, &handler.url(), &types);

    settled(&mut conn).await;

    let requests = handler.requests();
    let types: Vec<&str> = requests.iter().map(|request| request.header("ce-type")).collect();
    assert_eq!(types, ["application.created"]);
}

#[tokio::test]
async fn while_the_handler_is_down_nothing_is_acknowledged_and_the_program_stays_up() {
    let (server, handler) = (RedisServer::start(), Reserved::port());
    let mut conn = server.connection().await;
    let consumer = Consumer::start(&server, &handler.url(), &[]);
    publish(&mut conn, SUBMITTED, "{}").await;

    wait::until("it was tried twice", SOON, async || {
        let range = redis::cmd("XPENDING").arg("s").arg("g").arg("-").arg("+").arg(9).to_owned();
        let pending: Vec<(String, String, u64, u64)> = range.query_async(&mut conn).await.ok()?;
        pending.first().filter(|(.., deliveries)| *deliveries >= 2).map(drop)
    })
    .await;
    assert_eq!(pending(&mut conn).await, Some(1));
    assert_eq!(consumer.get("/livez").await.0, 200);
    assert_eq!(consumer.get("/readyz").await.0, 200);

    let handler = handler.open();
    handler.received(1).await;
    settled(&mut conn).await;
}

#[tokio::test]
async fn a_handler_that_asks_for_time_gets_it() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.answer([Reply::status(503).header("retry-after", "2"), Reply::status(200)]);
    let _consumer = Consumer::start(&server, &handler.url(), &[]);
    publish(&mut conn, SUBMITTED, "{}").await;

    let requests = handler.received(2).await;

    let waited = requests[1].at - requests[0].at;
    assert!(waited >= Duration::from_millis(1_900), "{waited:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (server, handler, elsewhere) = (RedisServer::start(), Handler::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.answer([Reply::status(307).header("location", &elsewhere.url())]);
    let _consumer = Consumer::start(&server, &handler.url(), &[]);
    publish(&mut conn, SUBMITTED, "{}").await;

    dead_letters(&mut conn, 1).await;

    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_reply_of_megabytes_does_no_harm() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.answer([Reply::status(200).body("x".repeat(4 << 20))]);
    let _consumer = Consumer::start(&server, &handler.url(), &[]);
    publish(&mut conn, SUBMITTED, "{}").await;

    settled(&mut conn).await;

    assert_eq!(handler.requests().len(), 1);
}

#[tokio::test]
async fn what_a_killed_consumer_had_in_hand_is_handled_by_another() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.hold();
    let killed = Consumer::start(&server, &handler.url(), &[("EVENT_CONSUMER", "first")]);
    let id = publish(&mut conn, SUBMITTED, "{}").await;
    handler.received(1).await;

    drop(killed);
    handler.release();
    let _other = Consumer::start(&server, &handler.url(), &[("EVENT_CONSUMER", "second")]);
    let requests = handler.received(2).await;
    settled(&mut conn).await;

    assert_eq!(requests[1].header("x-event-entry-id"), id);
    assert_eq!(requests[1].header("x-event-attempt"), "2");
}

#[tokio::test]
async fn the_log_handler_writes_a_line_an_event_without_its_payload() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let settings = [("HANDLER", "log"), ("LOG_FORMAT", "json")];
    let consumer = Consumer::start(&server, "", &settings);
    let id = publish(&mut conn, "application.\nsubmitted", r#"{"name":"hunter2"}"#).await;

    settled(&mut conn).await;

    let output = consumer.output();
    let lines: Vec<serde_json::Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let event = lines.iter().find(|line| line["entry"] == id.as_str()).unwrap();
    assert_eq!(event["type"], r#""application.\nsubmitted""#);
    assert_eq!(event["payload_bytes"], 18);
    assert!(!output.contains("hunter2"), "{output}");
}

#[tokio::test]
async fn a_name_that_leads_to_this_host_is_not_dialled_where_that_is_not_allowed() {
    let handler = Handler::start();
    let text = handler.url().replace("127.0.0.1", "localhost");
    let lax = DialPolicy { allow_loopback: true, api_server: None };
    let url = HandlerUrl::parse(&text, &lax).unwrap();
    let policy = DialPolicy { allow_loopback: false, api_server: None };
    let client = |policy| {
        let settings = HttpSettings { url: url.clone(), format: Format::default(), policy };
        HttpHandler::new(settings, Counter::default()).unwrap()
    };

    let refused = client(policy).handle(&delivery()).await;
    assert_eq!(client(lax).handle(&delivery()).await, Answer::Done);

    let Answer::Retry { reason, .. } = refused else { panic!("{refused:?}") };
    assert!(reason.contains("localhost resolves to a loopback address"), "{reason}");
    assert_eq!(handler.requests().len(), 1);
}

fn delivery() -> Delivery {
    let stream = StreamKey::new("s").expect("a name");
    let fields = [("type", SUBMITTED), ("payload", "{}")];
    let fields = fields.map(|(name, value)| (name.into(), value.into())).to_vec();
    let entry = RawEntry::new("1-0".parse().expect("an ID"), fields);
    let event = StreamEvent::decode(&stream, entry).expect("an event");
    let group = GroupName::new("g").expect("a name");
    Delivery::new(event, 1, stream, group)
}
