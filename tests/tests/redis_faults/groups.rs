//! Somebody destroys the group: who makes it again, where, and what that repeats.

use eventbus::admin::Connection;
use redis::streams::{StreamInfoConsumersReply, StreamInfoGroupsReply, StreamRangeReply};
use tests::redis::RedisServer;
use tests::subscriber::{LONG, Running, command, drained, xadd};
use tests::wait;

use crate::fleet::Fleet;
use crate::flow::{quick, statistic};

const CONNECTIONS: &str = "total_connections_received";

#[tokio::test]
async fn f15_of_several_processes_only_those_that_create_it_make_a_lost_group_again() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let mut fleet = Fleet::start(&server, 1, &[("EVENT_START", "0")]).await;
    fleet.add(&server, &[("EVENT_START", "")]).ready().await;
    drained(&mut conn).await;

    drop(fleet.consumers.remove(0));
    assert!(!fleet.consumers[0].output().contains("waiting for the group"), "it was there");
    command(&mut conn, "XGROUP DESTROY s g").await;
    fleet.flow.publish(1).await;
    fleet.has_logged("waiting for the group").await;
    // It makes one as it connects, if it does, with two connections a time: here it does so twice more.
    let before = statistic(&mut conn, CONNECTIONS).await;
    wait::until("it looks for the group", LONG, async || {
        let reconnected = statistic(&mut conn, CONNECTIONS).await >= before + 4;
        (reconnected || groups(&mut conn).await > 0).then_some(())
    })
    .await;
    assert_eq!(groups(&mut conn).await, 0, "made by a process that only waits for it");

    fleet.add(&server, &[("EVENT_START", "0")]);
    fleet.all_are_handled().await;
    // The other one finds it at its next look; a server knows a consumer only once it got something.
    wait::until("both get events", LONG, async || {
        fleet.flow.publish(1).await;
        (consumers(&mut conn).await == 2).then_some(())
    })
    .await;
    wait::until("it has logged twice that it found the group", LONG, async || {
        let output = fleet.consumers[0].output();
        (output.matches("found the group").count() == 2).then_some(())
    })
    .await;
    fleet.all_are_handled().await;
}

#[tokio::test]
async fn f15_a_fresh_process_that_would_begin_at_the_end_resumes() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let from_the_end = [("EVENT_START", "$")];
    let mut fleet = Fleet::start(&server, 1, &from_the_end).await;
    fleet.flow.publish(4).await;
    fleet.all_are_handled().await;
    stored_resume(&mut conn).await;
    let mut first = fleet.consumers.remove(0);
    first.terminate();
    assert!(first.ended().await.success(), "{}", first.output());

    command(&mut conn, "XGROUP DESTROY s g").await;
    fleet.flow.publish(3).await;
    fleet.add(&server, &from_the_end);
    fleet.all_are_handled().await;
    drained(&mut conn).await;
    assert_eq!(fleet.handler.requests().len(), 5 + 3, "what was handled is not repeated");
}

#[tokio::test]
async fn f15_what_was_in_hand_when_the_group_was_destroyed_comes_again() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let mut fleet = Fleet::start(&server, 1, &[("DELIVERY_CONCURRENCY", "4")]).await;
    fleet.handler.hold();
    fleet.flow.publish(4).await;
    fleet.handler.received(1 + 4).await;
    let oldest = format!(r#""before":"{}""#, entry_from(&mut conn, 1).await);
    stored(&mut conn, &oldest).await;

    command(&mut conn, "XGROUP DESTROY s g").await;
    fleet.has_logged("created the group again, which was lost").await;
    fleet.flow.publish(4).await;
    // Those in hand and the new ones, none of which was acknowledged to this group.
    wait::until("all were delivered again", LONG, async || {
        let group = info(&mut conn).await.groups.pop()?;
        (group.pending == 8).then_some(())
    })
    .await;
    fleet.handler.release();
    fleet.all_are_handled().await;
    drained(&mut conn).await;
    assert!(fleet.repeats() <= 4, "{} repeats", fleet.repeats());
}

#[tokio::test]
async fn f15_five_processes_lose_nothing_however_often_their_group_is_destroyed() {
    const ROUNDS: usize = 5;
    const BEFORE: u32 = 60;
    const MEANWHILE: u32 = 20;
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    let mut fleet = Fleet::start(&server, 5, &[]).await;
    for _ in 0..ROUNDS {
        fleet.flow.publish(BEFORE).await;
        fleet.all_are_handled().await;
        stored_resume(&mut conn).await;
        tokio::join!(fleet.flow.publish(MEANWHILE), command(&mut conn, "XGROUP DESTROY s g"));
        fleet.all_are_handled().await;
        drained(&mut conn).await;
    }
    // Without the place where it had come to, each round would repeat all that came before it.
    let max = ROUNDS * MEANWHILE as usize;
    assert!(fleet.repeats() <= max, "{} repeats", fleet.repeats());
}

#[tokio::test]
async fn f15_a_group_made_at_the_end_is_never_made_there_again() {
    let server = RedisServer::start();
    let mut conn = server.connection().await;
    xadd(&mut conn, "0").await;
    let config = {
        let mut config = quick();
        config.start = Some("$".parse().unwrap());
        config
    };
    let running = Running::start(server.config(), config, async |_| eventbus::Answer::Done);
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

/// Waits until a heartbeat has told that the group has come to the stream's end.
async fn stored_resume(conn: &mut Connection) {
    let mut last = redis::cmd("XREVRANGE");
    let last = last.arg("s").arg("+").arg("-").arg("COUNT").arg(1);
    let last: StreamRangeReply = last.query_async(conn).await.unwrap();
    stored(conn, &format!(r#""after":"{}""#, last.ids[0].id)).await;
}

/// Waits until a heartbeat has stored a resume point with this text.
async fn stored(conn: &mut Connection, expected: &str) {
    wait::until(&format!("a heartbeat stores {expected}"), LONG, async || {
        let mut get = redis::cmd("HGET");
        let get = get.arg("{s}:eventbus:consumers:g").arg("resume");
        let stored: Option<String> = get.query_async(&mut conn.clone()).await.ok()?;
        stored?.contains(expected).then_some(())
    })
    .await;
}

/// The ID of the entry at this place in the stream, from 0 on.
async fn entry_from(conn: &mut Connection, place: usize) -> String {
    let mut range = redis::cmd("XRANGE");
    let entries: StreamRangeReply =
        range.arg("s").arg("-").arg("+").query_async(conn).await.unwrap();
    entries.ids[place].id.clone()
}

async fn info(conn: &mut Connection) -> StreamInfoGroupsReply {
    redis::cmd("XINFO").arg("GROUPS").arg("s").query_async(conn).await.unwrap()
}

async fn groups(conn: &mut Connection) -> usize {
    info(conn).await.groups.len()
}

/// How many consumers the group has, without the names that only hold what waits.
async fn consumers(conn: &mut Connection) -> usize {
    let mut info = redis::cmd("XINFO");
    let info: StreamInfoConsumersReply =
        info.arg("CONSUMERS").arg("s").arg("g").query_async(conn).await.unwrap();
    info.consumers.iter().filter(|consumer| !consumer.name.starts_with("eventbus:")).count()
}
