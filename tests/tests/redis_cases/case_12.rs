//! Dead letters beyond their maximum length.

use eventbus::Answer;
use eventbus::admin::Connection;
use serde_json::{Value, json};
use tests::consumer::{Consumer, DEAD_LETTERS, SOON, dead_letters, publish, run, settled};
use tests::handler::{Handler, Reply};
use tests::redis::RedisServer;
use tests::subscriber::{Running, config, xadd};
use tests::wait;

/// The counts of the group's dead letters.
async fn counted(conn: &mut Connection) -> Value {
    let field = redis::cmd("HGET").arg("{s}:eventbus:consumers:g").arg("dead").to_owned();
    let field: Option<String> = run(conn, &field).await;
    serde_json::from_str(&field.expect("dead letters are counted")).unwrap()
}

#[tokio::test]
async fn case_12_dead_letters_beyond_their_maximum_length_are_counted_where_people_look() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    handler.answer([Reply::status(400)]);
    for _ in 0..300 {
        publish(&mut conn, "t", "{}").await;
    }
    let changes = [("DEAD_LETTER_MAX_LENGTH", "1")];
    let consumer = Consumer::start(&server, &handler.url(), &changes);
    wait::until("the group has read something", SOON, async || {
        (!handler.requests().is_empty()).then_some(())
    })
    .await;
    settled(&mut conn).await;

    let kept: u64 = run(&mut conn, redis::cmd("XLEN").arg(DEAD_LETTERS)).await;
    let (dropped, counted) = (299, counted(&mut conn).await);
    assert_eq!(kept, 1);
    assert_eq!((&counted["v"], &counted["stored"]), (&json!(1), &json!(300)));
    assert_eq!(counted["dropped"], json!(dropped));
    assert_eq!(counted["lastReason"], json!("rejected"));
    let time: Result<jiff::Timestamp, _> = counted["lastTime"].as_str().unwrap().parse();
    assert!(time.is_ok(), "{counted}");
    let (_, metrics) = consumer.get("/metrics").await;
    let name = r#"eventbus_dropped_dead_letters_total{stream="s",group="g"} "#;
    let written = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    // A reply that a busy machine loses is counted in Redis alone.
    assert!((200..=dropped).contains(&written.parse().unwrap()), "{written} of {dropped}");
    let output = consumer.output();
    let lines = output.lines().filter(|line| line.contains("dropped the oldest dead letters"));
    let lines: Vec<&str> = lines.collect();
    // One a minute.
    assert!((1..10).contains(&lines.len()), "{output}");
    for part in ["stream=s", "group=g", "dead_letters={s}:dlq:g", "max_length=1", "dropped="] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }
}

#[tokio::test]
async fn case_12_a_maximum_length_beyond_what_a_server_takes_refuses_no_dead_letter() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "1").await;
    let mut config = config();
    config.dead_letters = config.dead_letters.map(|kept| kept.with_max_length(u64::MAX));
    let running = Running::start(server.config(), config, async |_| Answer::dead("no"));
    dead_letters(&mut conn, 1).await;
    running.stop().await.unwrap();
}
