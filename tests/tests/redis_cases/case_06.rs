//! Delivery counts that another program raised.

use eventbus::admin::Connection;
use tests::consumer::{Consumer, dead_letters, publish, settled};
use tests::handler::{Handler, Reply};
use tests::redis::RedisServer;
use tests::subscriber::command;

/// Publishes an event that consumer `owner` has read, and has claimed for itself again, long ago, with this count.
async fn claimed_by(owner: &str, count: &str, conn: &mut Connection) -> String {
    command(conn, "XGROUP CREATE s g 0 MKSTREAM").await;
    let id = publish(conn, "t", "{}").await;
    command(conn, &format!("XREADGROUP GROUP g {owner} STREAMS s >")).await;
    let options = format!("IDLE 3600000 RETRYCOUNT {count}");
    command(conn, &format!("XCLAIM s g {owner} 0 {id} {options}")).await;
    id
}

/// Returns the attempts of the handler's calls for an event that another program claimed with this count.
async fn attempts(count: &str, ordering: &str) -> Vec<String> {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    claimed_by("old", count, &mut conn).await;
    let _consumer = Consumer::start(&server, &handler.url(), &[("DELIVERY_ORDERING", ordering)]);
    settled(&mut conn).await;
    let requests = handler.requests();
    requests.iter().map(|request| request.header("x-event-attempt").to_owned()).collect()
}

#[tokio::test]
async fn case_06_an_event_that_another_program_claimed_six_times_is_handled_at_its_first_attempt() {
    assert_eq!(attempts("6", "None").await, ["1"]);
}

#[tokio::test]
async fn case_06_with_order_kept_no_count_of_another_program_is_an_attempt() {
    assert_eq!(attempts("6", "Stream").await, ["1"]);
    assert_eq!(attempts("9223372036854775806", "Stream").await, ["1"]);
}

#[tokio::test]
async fn case_06_a_handler_gets_all_attempts_of_an_event_with_the_largest_count_there_is() {
    let (server, handler) = (RedisServer::start(), Handler::start());
    let mut conn = server.connection().await;
    let id = claimed_by("old", "9223372036854775806", &mut conn).await;
    handler.answer([Reply::status(500)]);
    let changes = [("DELIVERY_MAX_ATTEMPTS", "3")];
    let _consumer = Consumer::start(&server, &handler.url(), &changes);
    let letter = dead_letters(&mut conn, 1).await.remove(0);
    let value = |name: &str| &letter.iter().find(|(field, _)| field == name).unwrap().1;
    assert_eq!((value("dlq.id"), value("dlq.attempts")), (&id.into(), &b"3".to_vec()));
    assert_eq!(value("dlq.reason"), b"exhausted");
    assert_eq!(handler.requests().len(), 3);
}
