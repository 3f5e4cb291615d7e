//! Somebody at a terminal empties, destroys, moves or replaces what the library uses.

use bus::subscribe::SubscriberConfig;
use redis::aio::MultiplexedConnection;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, drained, xadd};
use tests::wait;

use crate::flow::{Flow, quick};

#[tokio::test]
async fn f14_a_stream_that_is_deleted_under_waiting_readers_has_its_group_again_before_any_event() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    for words in ["FLUSHALL", "DEL s", "UNLINK s"] {
        crate::waits::readers_wait(&mut conn, 2).await;
        command(&mut conn, words).await;
        // Nobody publishes: the readers find out by themselves.
        crate::waits::group_stands(&mut conn, std::time::Duration::from_secs(5)).await;
        flow.publish(10).await;
        flow.all_are_handled().await;
    }
}

#[tokio::test]
async fn f15_a_group_that_was_destroyed_resumes_where_it_had_come_to() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    flow.publish(200).await;
    flow.all_are_handled().await;
    told_resume(&mut conn).await;
    command(&mut conn, "XGROUP DESTROY s g").await;
    flow.publish(50).await;
    flow.all_are_handled().await;
    drained(&mut conn).await;
    // A process that begins at the start would repeat them all.
    assert!(flow.repeats() < 100, "{} repeats", flow.repeats());
}

/// Waits until a beat has told that the group has come to the stream's end.
async fn told_resume(conn: &mut MultiplexedConnection) {
    let mut last = redis::cmd("XREVRANGE");
    let last = last.arg("s").arg("+").arg("-").arg("COUNT").arg(1);
    let last: redis::streams::StreamRangeReply = last.query_async(conn).await.unwrap();
    let expected = format!(r#""after":"{}""#, last.ids[0].id);
    wait::until("a beat tells", LONG, async || {
        let mut get = redis::cmd("HGET");
        let get = get.arg("{s}:ecg:consumers:g").arg("resume");
        let told: Option<String> = get.query_async(&mut conn.clone()).await.ok()?;
        told?.contains(&expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn f15_a_group_made_at_the_end_is_never_made_there_again() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "0").await;
    let config = SubscriberConfig { start: Some("$".parse().unwrap()), ..quick() };
    let running = Running::start(server.config(), config, async |_| bus::delivery::Answer::Done);
    wait::until("it has found its group", LONG, async || {
        running.readiness.has_connected().then_some(())
    })
    .await;
    for (round, words) in ["XGROUP DESTROY s g", "FLUSHALL"].into_iter().enumerate() {
        // Whether the group is made again before or after, the event is not passed over.
        command(&mut conn, words).await;
        let payload = (round + 1).to_string();
        xadd(&mut conn, &payload).await;
        wait::until("what follows is handled", LONG, async || {
            running.seen.times().contains_key(&payload).then_some(())
        })
        .await;
    }
    assert!(!running.seen.times().contains_key("0"), "what came before the start");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn f17_a_key_of_another_type_is_named_and_waited_out() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    command(&mut conn, "SET s x").await;
    let error = flow.try_publish().await.unwrap_err();
    assert!(error.is_wrong_type(), "{error:?}");
    assert!(error.to_string().contains("on stream s"), "{error}");
    let connections = async |conn: &mut MultiplexedConnection| {
        let info: String = redis::cmd("INFO").arg("stats").query_async(conn).await.unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = connections(&mut conn).await;
    // Two seconds of it: time is what is tested here.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let storm = connections(&mut conn).await - before;
    assert!(storm < 100, "{storm} connections in two seconds");
    command(&mut conn, "DEL s").await;
    flow.publish(10).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f29_a_password_that_was_rotated_is_read_from_its_file() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    command(&mut conn, "ACL SETUSER u on >first ~* +@all").await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| Some(dir.path().join(name));
    std::fs::write(path("user").unwrap(), "u").unwrap();
    std::fs::write(path("password").unwrap(), "first").unwrap();
    let files = bus::config::CredentialFiles {
        username: path("user"),
        password: path("password"),
        ..bus::config::CredentialFiles::default()
    };
    let redis = bus::config::RedisConfig::new("url", &server.url(), files).unwrap();
    let mut flow = Flow::start(redis).await;
    command(&mut conn, "ACL SETUSER u resetpass >second").await;
    command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
    wait::until("it is refused", LONG, async || flow.try_publish().await.err()).await;
    std::fs::write(path("password").unwrap(), "second").unwrap();
    flow.publish(10).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f41_two_consumers_of_one_name_do_not_share_what_they_have_in_hand() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    flow.publish(100).await;
    flow.all_are_handled().await;
    drained(&mut conn).await;
    assert_eq!(flow.repeats(), 0);
    let keys: Vec<String> =
        redis::cmd("HKEYS").arg("{s}:ecg:consumers:g").query_async(&mut conn).await.unwrap();
    let names = keys.iter().filter(|key| key.starts_with("c:pod/")).count();
    assert_eq!(names, 2, "{keys:?}");
}
