//! The server restarts, dies, loses its data, loads, is full, or becomes a replica.

use std::net::SocketAddr;
use std::time::Duration;

use tests::event_bus::is_late;
use tests::redis::RedisServer;
use tests::subscriber::{LONG, command, drained, xadd};
use tests::wait;

use crate::flow::{Flow, proxy_to, quick, through};

#[tokio::test]
async fn f19_a_demoted_primary_is_left_for_the_new_one_behind_the_same_address() {
    let old = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let new = RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]);
    let (mut of_old, mut of_new) = (old.connection().await, new.connection().await);
    let proxy = proxy_to(&old).await;
    let mut flow = Flow::start(through(&proxy)).await;
    replicate(&mut of_new, &old).await;
    command(&mut of_new, "REPLICAOF NO ONE").await;
    proxy.lead_to(SocketAddr::from(([127, 0, 0, 1], new.port())));
    replicate(&mut of_old, &new).await;

    // Nothing ends the connection to what is a replica now: the library does.
    let error = flow.try_publish().await.unwrap_err();
    // On a busy machine it may be late, which ends the connection too.
    assert!(error.code() == Some("READONLY") || is_late(&error), "{error:?}");
    assert!(error.is_transient(), "{error:?}");
    flow.publish(20).await;
    flow.all_are_handled().await;
    drained(&mut of_new).await;
    wait::until("this test alone talks to the replica", LONG, async || {
        let mut list = redis::cmd("CLIENT");
        let list = list.arg("LIST").arg("TYPE").arg("normal").query_async(&mut of_old).await;
        let list: String = list.unwrap();
        (list.lines().count() == 1).then_some(())
    })
    .await;
}

/// Makes the server of `conn` a replica of `primary`, and waits until it has what that has.
async fn replicate(conn: &mut eventbus::admin::Connection, primary: &RedisServer) {
    command(conn, &format!("REPLICAOF 127.0.0.1 {}", primary.port())).await;
    wait::until("it has caught up", LONG, async || {
        let mut info = redis::cmd("INFO");
        let info: String = info.arg("replication").query_async(&mut conn.clone()).await.ok()?;
        info.contains("master_link_status:up").then_some(())
    })
    .await;
}

#[tokio::test]
async fn f26_without_memory_a_publish_is_refused_by_name_and_what_is_in_hand_stays_there() {
    const LEASE: Duration = Duration::from_secs(2);
    let server = RedisServer::start();
    let mut config = quick();
    config.delivery.lease = LEASE;
    let mut flow = Flow::start_with(server.config(), config).await;
    let mut conn = server.connection().await;
    flow.hold();
    flow.publish(20).await;
    flow.are_in_flight(8).await;
    command(&mut conn, "CONFIG SET maxmemory 1").await;
    let error = flow.refusal().await;
    assert_eq!((error.code(), error.is_transient()), (Some("OOM"), true), "{error:?}");
    // For three leases: time is what is tested here, and without memory no heartbeat tells of it.
    tokio::time::sleep(3 * LEASE).await;
    flow.release();
    flow.all_are_handled().await;
    drained(&mut conn).await;
    assert_eq!(flow.repeats(), 0);
    command(&mut conn, "CONFIG SET maxmemory 0").await;
    flow.publish(20).await;
    flow.all_are_handled().await;
}

#[tokio::test]
async fn f26_trimming_goes_on_without_memory() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    for n in 0..1_000 {
        xadd(&mut conn, &n.to_string()).await;
    }
    command(&mut conn, "XGROUP CREATE s g $").await;
    command(&mut conn, "CONFIG SET maxmemory 1").await;
    let removed = eventbus::admin::trim(&mut conn, &quick().stream, 100, LONG).await.unwrap();
    let length: u64 = redis::cmd("XLEN").arg("s").query_async(&mut conn).await.unwrap();
    // Entries go by the hundred.
    assert!((100..=300).contains(&length), "{length} entries are left, {removed:?}");
}

#[tokio::test]
async fn f28_a_server_with_no_connection_left_says_so_and_is_waited_for() {
    let server = RedisServer::start();
    let mut flow = Flow::start(server.config()).await;
    let mut conn = server.connection().await;
    command(&mut conn, "CONFIG SET maxclients 1").await;
    command(&mut conn, "CLIENT KILL TYPE normal SKIPME yes").await;
    wait::until("it is refused for that", LONG, async || {
        let error = flow.try_publish().await.err()?;
        let is_reported = eventbus::chain(&error).contains("max number of clients");
        assert!(is_reported || is_late(&error), "{error:?}");
        is_reported.then_some(())
    })
    .await;
    command(&mut conn, "CONFIG SET maxclients 100").await;
    flow.publish(20).await;
    flow.all_are_handled().await;
}
