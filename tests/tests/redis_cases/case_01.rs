//! A handler whose server closes kept-alive connections when it likes.

use eventbus::admin::Connection;
use tests::consumer::{Consumer, DEAD_LETTERS, dead_letters, publish, run, settled};
use tests::raw_handler::{Act, Call, RawHandler, Settings};
use tests::redis::RedisServer;
use tests::tls::Authority;

const EVENTS: usize = 60;

/// Has a consumer of so many handler calls at once handle 60 events, and returns the attempts that were answered, by entry.
async fn answered(
    handler: &RawHandler,
    concurrency: &str,
    is_answered: fn(&Call) -> bool,
    settings: &[(&str, &str)],
) -> Vec<(String, String)> {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for _ in 0..EVENTS {
        publish(&mut conn, "user.login", r#"{"user": "u-1"}"#).await;
    }
    let mut settings = settings.to_vec();
    settings.push(("DELIVERY_CONCURRENCY", concurrency));
    let _consumer = Consumer::start(&server, &handler.url(), &settings);

    settled(&mut conn).await;

    assert_eq!(dead(&mut conn).await, 0);
    let calls = handler.calls().into_iter().filter(is_answered);
    calls
        .map(|call| {
            assert_eq!(call.body, br#"{"user": "u-1"}"#);
            let header = |name| call.header(name).to_owned();
            (header("x-event-entry-id"), header("x-event-attempt"))
        })
        .collect()
}

async fn dead(conn: &mut Connection) -> usize {
    run(conn, redis::cmd("XLEN").arg(DEAD_LETTERS)).await
}

/// Asserts that each event was answered once, at its first attempt, and returns whether that was in the stream's order.
fn in_order(answered: &[(String, String)]) -> bool {
    assert!(answered.iter().all(|(_, attempt)| attempt == "1"), "{answered:?}");
    let sorted: std::collections::BTreeSet<eventbus::EntryId> =
        answered.iter().map(|(entry, _)| entry.parse().unwrap()).collect();
    assert_eq!((answered.len(), sorted.len()), (EVENTS, EVENTS), "{answered:?}");
    sorted.iter().map(ToString::to_string).eq(answered.iter().map(|(entry, _)| entry.clone()))
}

#[tokio::test]
async fn case_01_a_kept_connection_that_is_closed_unread_costs_no_attempt() {
    let settings = Settings { max_requests: 1, ..Settings::default() };
    let handler = RawHandler::start(settings, |_| Act::done());
    let answered = answered(&handler, "1", |_| true, &[]).await;
    assert!(in_order(&answered), "{answered:?}");
}

#[tokio::test]
async fn case_01_kept_connections_that_are_closed_unread_cost_no_attempt_with_calls_at_once() {
    let settings = Settings { max_requests: 2, ..Settings::default() };
    let handler = RawHandler::start(settings, |_| Act::done());
    in_order(&answered(&handler, "8", |_| true, &[]).await);
}

#[tokio::test]
async fn case_01_a_kept_connection_that_ends_after_its_next_request_costs_no_attempt() {
    let handler = RawHandler::start(Settings::default(), |call| {
        if call.number == 1 { Act::done() } else { Act::Close(Vec::new()) }
    });
    let answered = answered(&handler, "1", |call| call.number == 1, &[]).await;
    assert!(in_order(&answered), "{answered:?}");
    // Without kept connections there is nothing to test.
    assert!(handler.calls().len() > EVENTS);
}

#[tokio::test]
async fn case_01_a_connection_that_closes_behind_its_answer_costs_no_attempt() {
    let handler = RawHandler::start(Settings::default(), |_| {
        let Act::Send(bytes) = Act::done() else { unreachable!() };
        Act::Close(bytes)
    });
    let answered = answered(&handler, "1", |_| true, &[]).await;
    assert!(in_order(&answered), "{answered:?}");
}

#[tokio::test]
async fn case_01_a_kept_connection_with_tls_that_is_closed_costs_no_attempt() {
    let authority = Authority::new();
    let ca = authority.ca();
    let trust = [("SSL_CERT_FILE", ca.to_str().unwrap())];
    let certificate = || Some(authority.issue("handler", "IP:127.0.0.1"));

    let unread = Settings { certificate: certificate(), max_requests: 1 };
    let unread = RawHandler::start(unread, |_| Act::done());
    let answers = answered(&unread, "1", |_| true, &trust).await;
    assert!(in_order(&answers), "{answers:?}");

    // Without an announcement of TLS.
    let cut = Settings { certificate: certificate(), max_requests: 0 };
    let cut =
        RawHandler::start(
            cut,
            |call| {
                if call.number == 1 { Act::done() } else { Act::Close(Vec::new()) }
            },
        );
    let answers = answered(&cut, "1", |call| call.number == 1, &trust).await;
    assert!(in_order(&answers), "{answers:?}");
}

/// Attempts of the event whose payload is `payload`, as the handler saw them, until it is a dead letter.
async fn attempts_at_poison(is_first: bool, half_an_answer: &'static [u8]) -> Vec<String> {
    let handler = RawHandler::start(Settings::default(), move |call| {
        if call.body == b"666" { Act::Close(half_an_answer.to_vec()) } else { Act::done() }
    });
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let _consumer = Consumer::start(&server, &handler.url(), &[]);
    if !is_first {
        publish(&mut conn, "user.login", "1").await;
        settled(&mut conn).await;
    }
    publish(&mut conn, "user.login", "666").await;

    let letters = dead_letters(&mut conn, 1).await;
    let field = |name: &str| {
        let (_, value) = letters[0].iter().find(|(field, _)| field == name).unwrap();
        String::from_utf8(value.clone()).unwrap()
    };
    assert_eq!((field("dlq.reason"), field("dlq.attempts")), ("exhausted".into(), "5".into()));
    let calls = handler.calls().into_iter().filter(|call| call.body == b"666");
    calls.map(|call| call.header("x-event-attempt").to_owned()).collect()
}

#[tokio::test]
async fn case_01_an_event_that_ends_its_handler_uses_up_its_attempts_on_new_connections() {
    for half_an_answer in [&b""[..], b"HTTP/1.1 20"] {
        let attempts = attempts_at_poison(true, half_an_answer).await;
        assert_eq!(attempts, ["1", "2", "3", "4", "5"]);
    }
}

#[tokio::test]
async fn case_01_an_event_that_ends_its_handler_is_repeated_once_on_a_kept_connection() {
    let attempts = attempts_at_poison(false, b"").await;
    // The pool may have closed the connection in the meantime, on a slow machine.
    let (kept, closed) = (&["1", "1", "2", "3", "4", "5"][..], &["1", "2", "3", "4", "5"][..]);
    assert!(attempts == kept || attempts == closed, "{attempts:?}");
}
