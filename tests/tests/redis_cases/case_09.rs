//! Answers 200 whose body may have requested a retry.

use std::collections::BTreeMap;

use tests::consumer::{Consumer, DEAD_LETTERS, add, run, settled};
use tests::raw_handler::{Act, RawHandler, Settings};
use tests::redis::RedisServer;

const JSON: &str = "content-type: application/json\r\n";
const RETRY: &str = r#"{"status":"RETRY"}"#;

/// An answer 200 with these headers, and with `content-length` if the body is to be whole.
fn answer(headers: &str, body: &[u8]) -> Act {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
    Act::Send([head.as_bytes(), body].concat())
}

/// An answer 200 with these headers and bytes, behind which the connection is closed.
fn cut(headers: &str, bytes: &str) -> Act {
    Act::Close(format!("HTTP/1.1 200 OK\r\n{JSON}{headers}\r\n{bytes}").into_bytes())
}

fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

/// The answers that are no success, by name.
fn not_understood() -> Vec<(&'static str, Act)> {
    let long = format!(r#"{{"status":"RETRY","x":"{}"}}"#, "x".repeat(66_000));
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabV*.I,)-V\xb2R\nr\r\t\x8aT\xaa\x05\0";
    let marked = [b"\xef\xbb\xbf", RETRY.as_bytes()].concat();
    vec![
        ("retry", answer("", RETRY.as_bytes())),
        ("too long", answer("", long.as_bytes())),
        ("too long, as JSON", answer(JSON, long.as_bytes())),
        ("another word", answer("", br#"{"status":"FAILED"}"#)),
        ("a number", answer(JSON, br#"{"status":503}"#)),
        ("null as status", answer("", br#"{"status":null}"#)),
        ("an object as status", answer("", br#"{"status":{"status":"SUCCESS"}}"#)),
        ("twice", answer("", br#"{"status":"SUCCESS","status":"RETRY"}"#)),
        ("a byte-order mark", answer("", &marked)),
        ("UTF-16, big endian", answer("", &utf_16(RETRY, u16::to_be_bytes))),
        ("UTF-16 as JSON", answer(JSON, &utf_16(RETRY, u16::to_le_bytes))),
        ("compressed", answer(&format!("{JSON}content-encoding: gzip\r\n"), gzip)),
        ("compressed without a word", answer(JSON, gzip)),
        ("text behind it", answer("", br#"{"status":"SUCCESS"} {"status":"RETRY"}"#)),
        ("an escaped name", answer("", br#"{"\u0073tatus":"RETRY"}"#)),
        ("chunks that end early", cut("transfer-encoding: chunked\r\n", "9\r\n{\"status\"\r\n")),
        ("no last chunk", cut("transfer-encoding: chunked\r\n", "2\r\n{}\r\n")),
        ("a length too great", cut("content-length: 99\r\n", r#"{"status":"SUCCESS"}"#)),
        ("a length too small", cut("content-length: 9\r\n", RETRY)),
        ("until the end, cut", cut("", r#"{"status":"RET"#)),
    ]
}

/// The answers of a success, by name.
fn done() -> Vec<(&'static str, Act)> {
    vec![
        ("success", answer(JSON, br#"{"status":"SUCCESS"}"#)),
        ("no status", answer(JSON, br#"{"ok":true}"#)),
        ("an array", answer(JSON, br#"[{"status":"RETRY"}]"#)),
        ("null", answer(JSON, b"null")),
        ("nothing", answer(JSON, b"")),
        ("a page", answer("content-type: text/html\r\n", b"<p>RETRY</p>")),
        ("until the end", cut("", "{}")),
    ]
}

#[tokio::test]
async fn case_09_an_answer_that_is_not_understood_is_a_retry_and_no_success() {
    let answers: BTreeMap<_, _> = not_understood().into_iter().chain(done()).collect();
    let replies = answers.clone();
    let handler = RawHandler::start(Settings::default(), move |call| {
        let first = call.header("x-event-attempt") == "1";
        let name = std::str::from_utf8(&call.body).unwrap().trim_matches('"');
        if first { replies[name].clone() } else { Act::done() }
    });
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for name in answers.keys() {
        let payload = format!("\"{name}\"");
        add(&mut conn, &[("type", b"t"), ("payload", payload.as_bytes())]).await;
    }
    // One call at once: a body of another length than declared leaves bytes to the next.
    let _consumer = Consumer::start(&server, &handler.url(), &[("DELIVERY_CONCURRENCY", "1")]);

    settled(&mut conn).await;

    let mut attempts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in handler.calls() {
        let name = String::from_utf8(call.body.clone()).unwrap().trim_matches('"').to_owned();
        attempts.entry(name).or_default().push(call.header("x-event-attempt").to_owned());
    }
    let expected = |answers: Vec<(&str, Act)>, attempts: &[&str]| {
        let attempts: Vec<_> = attempts.iter().map(ToString::to_string).collect();
        answers.iter().map(|(name, _)| ((*name).to_owned(), attempts.clone())).collect()
    };
    let mut all: BTreeMap<String, Vec<String>> = expected(not_understood(), &["1", "2"]);
    let successes: BTreeMap<String, Vec<String>> = expected(done(), &["1"]);
    all.extend(successes);
    assert_eq!(attempts, all);
    assert_eq!(run::<u64>(&mut conn, redis::cmd("XLEN").arg(DEAD_LETTERS)).await, 0);
}
