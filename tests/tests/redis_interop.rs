//! A client of another language on the same stream: redis-py publishes to our subscriber, and reads what we publish.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

use std::sync::{Arc, Mutex};

use eventbus::{Answer, NewEvent, Payload, StreamEvent};
use serde_json::{Value, json};
use tests::event_bus::bus_on;
use tests::python;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, config, drained};
use tests::wait;

/// The events that `publish.py` publishes, as our handler gets them, and their entries' IDs.
async fn published_by_python() -> (Vec<StreamEvent>, Vec<String>) {
    let server = RedisServer::start();
    let output = python::run("publish.py", &[&server.port().to_string()]).await;
    let events = Arc::new(Mutex::new(Vec::new()));
    let running = Running::start(server.config(), config(), {
        let events = events.clone();
        move |delivery| {
            events.lock().unwrap().push(delivery.event.clone());
            async { Answer::Done }
        }
    });
    drained(&mut server.connection().await).await;
    running.stop().await.unwrap();
    let mut events = std::mem::take(&mut *events.lock().unwrap());
    events.sort_by_key(|event| event.id());
    (events, output.lines().map(str::to_owned).collect())
}

#[tokio::test]
async fn an_event_of_four_fields_from_python_is_read_as_it_was_written() {
    let (events, ids) = published_by_python().await;
    let event = &events[0];
    assert_eq!(event.id().to_string(), ids[0]);
    assert_eq!(event.event_id(), format!("s/{}", ids[0]));
    assert_eq!(event.event_type(), "application.submitted");
    assert_eq!(event.payload().as_str(), r#"{"applicationId": "a-1", "name": "Zoë"}"#);
    assert_eq!(event.source_service(), Some("web"));
    assert_eq!(event.timestamp().to_string(), "2026-03-01T11:30:00Z");
    assert_eq!((event.key(), event.traceparent(), event.extra().len()), (None, None, 0));
}

#[tokio::test]
async fn without_a_time_or_with_one_of_no_zone_an_event_has_the_time_of_its_entry() {
    let (events, ids) = published_by_python().await;
    for (event, id) in events[1..3].iter().zip(&ids[1..3]) {
        let (ms, _) = id.split_once('-').unwrap();
        assert_eq!(event.timestamp().as_millisecond().to_string(), ms);
    }
}

#[tokio::test]
async fn fields_that_we_do_not_know_reach_the_handler_with_all_their_bytes() {
    let (events, _) = published_by_python().await;
    let extra = [(b"tenant".to_vec(), b"north".to_vec()), (b"\xffodd".to_vec(), vec![0, 0xfe])];
    assert!(events[3].extra().eq(extra.iter().map(|(name, value)| (&name[..], &value[..]))));
    assert_eq!(events.len(), 4);
}

#[tokio::test]
async fn what_we_publish_python_reads_and_acknowledges() {
    // A publish that is late on a busy machine may stand there twice when it is made again: another stream, then.
    let (server, first, second) = wait::until("two events stand in a stream", LONG, async || {
        let server = RedisServer::start();
        let bus = bus_on(&server).await;
        let first = bus.publish("user.login", &json!({"name": "Zoë"}), Some("bff")).await.ok()?;
        let mut event = NewEvent::new("a.b", Payload::from_text("[1, 2]".to_owned()).unwrap());
        (event.id, event.key) = (Some("mine".to_owned()), Some("k".to_owned()));
        let second = bus.publish_event(event).await.ok()?;
        Some((server, first, second))
    })
    .await;

    let output = python::run("consume.py", &[&server.port().to_string()]).await;

    let mut entries: Vec<Value> =
        output.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let times = entries.iter_mut().map(|entry| entry["fields"]["b'ts'"].take());
    for time in times.collect::<Vec<_>>() {
        let time = time.as_str().unwrap().strip_prefix("b'").unwrap().strip_suffix('\'').unwrap();
        assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }
    let own_id = entries[0]["fields"]["b'id'"].take();
    // b'…' around a UUID.
    assert_eq!(own_id.as_str().unwrap().len(), 39);
    let expected = json!([
        {
            "id": first.to_string(),
            "fields": {
                "b'type'": "b'user.login'", "b'payload'": r#"b'{"name":"Zo\xc3\xab"}'"#,
                "b'source'": "b'bff'", "b'ts'": null, "b'id'": null,
            },
            "acknowledged": 1,
            "pending": 1,
        },
        {
            "id": second.to_string(),
            "fields": {
                "b'type'": "b'a.b'", "b'payload'": "b'[1, 2]'", "b'source'": "b''", "b'ts'": null,
                "b'id'": "b'mine'", "b'key'": "b'k'",
            },
            "acknowledged": 1,
            "pending": 0,
        },
    ]);
    assert_eq!(Value::from(entries), expected);
}
