//! The network falls silent, loses replies, cuts connections, or is slow.

use std::time::Duration;

use tests::redis::RedisServer;
use tests::subscriber::command;

use crate::flow::{Flow, proxy_to, through};

#[tokio::test]
async fn f20_a_silent_network_is_noticed_and_what_it_swallowed_is_handled_after_the_lease() {
    let server = RedisServer::start();
    let proxy = proxy_to(&server).await;
    let mut flow = Flow::start(through(&proxy)).await;
    proxy.fall_silent();
    let error = flow.try_publish().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    // By another way, to a reader that hears nothing any more.
    let mut conn = server.connection().await;
    let fields = [("type", "t"), ("payload", "1"), ("id", "silent")];
    redis::cmd("XADD").arg("s").arg("*").arg(&fields).exec_async(&mut conn).await.unwrap();
    flow.confirmed.insert("silent".to_owned());
    proxy.resume();
    flow.publish(5).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f21_an_event_whose_reply_was_lost_is_repeated_under_its_own_id() {
    let server = RedisServer::start();
    let proxy = proxy_to(&server).await;
    let mut flow = Flow::start(through(&proxy)).await;
    let mut conn = server.connection().await;
    let length = async |conn: &mut redis::aio::MultiplexedConnection| {
        redis::cmd("XLEN").arg("s").query_async::<u64>(conn).await.unwrap()
    };
    let before = length(&mut conn).await;
    proxy.hold_replies();
    let error = flow.try_publish().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(length(&mut conn).await > before, "the server has it");
    proxy.cut();
    proxy.resume();
    flow.publish(5).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f22_a_storm_of_resets_loses_nothing() {
    let server = RedisServer::start();
    let proxy = proxy_to(&server).await;
    let mut flow = Flow::start(through(&proxy)).await;
    for _ in 0..10 {
        flow.publish(5).await;
        proxy.cut();
    }
    flow.publish(5).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f24_when_all_clients_are_killed_they_are_back_within_moments() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    for _ in 0..5 {
        command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
        // The connection that was closed costs this one nothing.
        tokio::time::timeout(Duration::from_secs(5), flow.publish(2)).await.unwrap();
    }
    flow.all_are_handled().await;
}
