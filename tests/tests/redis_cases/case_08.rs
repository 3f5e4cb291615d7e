//! A hint from outside about when to try again, shorter than the backoff.

use std::time::{Duration, Instant};

use eventbus::Answer;
use tests::consumer::{Consumer, publish, settled};
use tests::raw_handler::{Act, RawHandler, Settings};
use tests::redis::RedisServer;
use tests::subscriber::{Running, config, drained, xadd};
use tokio::sync::mpsc::unbounded_channel;

/// Delayed entries are claimed once a second: a wait of none at all may take that long.
const BACKOFF: Duration = Duration::from_millis(2_500);
/// Less than the backoff by what clocks and their rounding take.
const AT_LEAST: Duration = Duration::from_millis(2_450);

const HINTS: [&str; 4] =
    ["0", "1", "Thu, 01 Jan 1970 00:00:00 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"];

#[tokio::test]
async fn case_08_a_retry_after_shorter_than_the_backoff_does_not_shorten_it() {
    let handler = RawHandler::start(Settings::default(), |call| {
        let number: usize = std::str::from_utf8(&call.body).unwrap().parse().unwrap();
        if call.header("x-event-attempt") != "1" {
            return Act::done();
        }
        let status =
            if number.is_multiple_of(2) { "503 Service Unavailable" } else { "429 Too Many" };
        let headers = format!("content-length: 0\r\nretry-after: {}", HINTS[number]);
        Act::Send(format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n").into_bytes())
    });
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for number in 0..HINTS.len() {
        publish(&mut conn, "user.login", &number.to_string()).await;
    }
    let backoff = format!("{}ms", BACKOFF.as_millis());
    let settings = [
        ("DELIVERY_BACKOFF_INITIAL", backoff.as_str()),
        ("DELIVERY_BACKOFF_MAX", "10s"),
        ("DELIVERY_BACKOFF_JITTER_PERCENT", "0"),
    ];
    let _consumer = Consumer::start(&server, &handler.url(), &settings);

    settled(&mut conn).await;

    for (number, hint) in HINTS.iter().enumerate() {
        let waits = handler.waits(&number.to_string());
        assert!(matches!(waits[..], [wait] if wait >= AT_LEAST), "{hint}: {waits:?}");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "time is what is tested")]
async fn case_08_a_short_time_that_a_handler_of_the_library_names_does_not_shorten_the_backoff() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let mut config = config();
    config.delivery.max_attempts = 2;
    (config.delivery.backoff.initial, config.delivery.backoff.max) = (BACKOFF, 2 * BACKOFF);
    xadd(&mut conn, "1").await;
    let (sender, mut times) = unbounded_channel();
    let running = Running::start(server.config(), config, move |_| {
        sender.send(Instant::now()).unwrap();
        async { Answer::Retry { after: Some(Duration::ZERO), reason: "at once".to_owned() } }
    });

    drained(&mut conn).await;
    running.stop().await.unwrap();

    let mut seen = Vec::new();
    times.recv_many(&mut seen, 9).await;
    assert!(matches!(seen[..], [first, second] if second - first >= AT_LEAST), "{seen:?}");
}
