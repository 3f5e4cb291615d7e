//! A hint from outside about when to try again, shorter than the backoff.

use std::time::{Duration, Instant};

use eventbus::Answer;
use tests::consumer::{Consumer, publish, settled};
use tests::handler::{Handler, Reply};
use tests::redis::RedisServer;
use tests::subscriber::{Running, config, drained, xadd};
use tokio::sync::mpsc::unbounded_channel;

#[tokio::test]
async fn case_08_a_retry_after_shorter_than_the_backoff_does_not_shorten_it() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    let hints = ["0", "Thu, 01 Jan 1970 00:00:00 GMT", "Sunday, 06-Nov-94 08:49:37 GMT"];
    let refusals = hints.map(|hint| Reply::status(503).header("retry-after", hint));
    handler.answer(refusals.into_iter().chain([Reply::status(200)]));
    let backoff = [
        ("DELIVERY_BACKOFF_INITIAL", "200ms"),
        ("DELIVERY_BACKOFF_MAX", "10s"),
        ("DELIVERY_BACKOFF_JITTER_PERCENT", "0"),
    ];
    let _consumer = Consumer::start(&server, &handler.url(), &backoff);
    publish(&mut conn, "user.login", "{}").await;

    settled(&mut conn).await;

    let times: Vec<_> = handler.requests().iter().map(|request| request.at).collect();
    let waits: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The handler measures between its own looks at the clock; the waits are of whole milliseconds.
    for (waited, backoff) in waits.iter().zip([190, 390, 790]) {
        assert!(*waited >= Duration::from_millis(backoff), "{waits:?}");
    }
    assert_eq!(waits.len(), 3);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "time is what is tested")]
async fn case_08_a_short_time_that_a_handler_of_the_library_names_does_not_shorten_the_backoff() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let mut config = config();
    config.delivery.max_attempts = 3;
    config.delivery.backoff.initial = Duration::from_millis(200);
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
    let waits: Vec<_> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (waited, backoff) in waits.iter().zip([190, 390]) {
        assert!(*waited >= Duration::from_millis(backoff), "{waits:?}");
    }
    assert_eq!(waits.len(), 2);
}
