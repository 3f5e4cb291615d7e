//! delay.lua: an entry waits until it is due.

use serde_json::json;
use tests::redis::RedisServer;

use super::call::{claim, delay};
use super::world::{DAY, DELAYED, SUSPECT, World, is_about, state};

#[tokio::test]
async fn an_entry_of_mine_waits_with_its_attempts_until_its_delay_is_over() {
    let mut world = World::start().await;
    world.give("1-0", "me", 5_000, 7).await;
    assert_eq!(world.call(delay("me", DELAYED, &["1-0", "2", "60000"])).await, json!([1]));
    assert_eq!(world.pending().await, [state("1-0", DELAYED, 2)]);
    assert!(is_about(world.idle("1-0").await, DAY - 60_000));
}

#[tokio::test]
async fn without_a_delay_it_is_due_at_once() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 1).await;
    world.call(delay("me", DELAYED, &["1-0", "0", "0"])).await;
    let claimed = world.call(claim("other", DELAYED, "1")).await;
    assert_eq!(claimed, json!([["1-0", 1, ["type", "t", "payload", "{}"]]]));
}

#[tokio::test]
async fn a_delay_may_be_a_whole_day() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 1).await;
    world.call(delay("me", DELAYED, &["1-0", "1", "86400000"])).await;
    assert!(is_about(world.idle("1-0").await, 0));
    assert_eq!(world.call(claim("me", DELAYED, "1")).await, json!([]));
}

#[tokio::test]
async fn an_entry_that_the_caller_does_not_hold_is_reported_and_left_alone() {
    let mut world = World::start().await;
    world.give("1-0", "other", 5_000, 2).await;
    world.give("2-0", "me", 0, 1).await;
    world.add("3-0").await;
    let args = ["1-0", "9", "0", "2-0", "1", "0", "3-0", "9", "0", "4-0", "9", "0"];
    assert_eq!(world.call(delay("me", DELAYED, &args)).await, json!([0, 1, 0, 0]));
    assert_eq!(world.pending().await, [state("1-0", "other", 2), state("2-0", DELAYED, 1)]);
    assert!(is_about(world.idle("1-0").await, 5_000));
}

#[tokio::test]
async fn a_suspect_comes_back_to_the_suspects() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 6).await;
    assert_eq!(world.call(delay("me", SUSPECT, &["1-0", "5", "0"])).await, json!([1]));
    assert_eq!(world.pending().await, [state("1-0", SUSPECT, 5)]);
    assert!(is_about(world.idle("1-0").await, DAY));
}

#[tokio::test]
async fn delayed_twice_it_keeps_the_first_delay() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 1).await;
    world.call(delay("me", DELAYED, &["1-0", "1", "60000"])).await;
    assert_eq!(world.call(delay("me", DELAYED, &["1-0", "2", "0"])).await, json!([0]));
    assert_eq!(world.pending().await, [state("1-0", DELAYED, 1)]);
    assert!(is_about(world.idle("1-0").await, DAY - 60_000));
}

#[tokio::test]
async fn an_entry_that_was_trimmed_meanwhile_is_pending_no_more() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 1).await;
    world.run(&["XDEL", "s", "1-0"]).await;
    assert_eq!(world.call(delay("me", DELAYED, &["1-0", "1", "0"])).await, json!([2]));
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn attempts_are_counted_over_delaying_and_claiming() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 1).await;
    for attempt in 1..5 {
        world.call(delay("me", DELAYED, &["1-0", &attempt.to_string(), "0"])).await;
        let claimed = world.call(claim("me", DELAYED, "1")).await;
        assert_eq!(claimed[0][1], json!(attempt + 1));
    }
    assert_eq!(world.pending().await, [state("1-0", "me", 5)]);
}

#[tokio::test]
async fn replays_wait_among_the_dead_letters() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 1).await;
    world.give_replay("1-0", "me", 0, 1).await;
    assert_eq!(world.call_replays(delay("me", DELAYED, &["1-0", "3", "60000"])).await, json!([1]));
    assert_eq!(world.replays().await, [state("1-0", DELAYED, 3)]);
    assert!(is_about(world.replay_idle("1-0").await, DAY - 60_000));
    assert_eq!(world.pending().await, [state("1-0", "me", 1)]);
}

#[tokio::test]
async fn what_waits_is_due_when_it_was_over_a_restart_of_the_server() {
    let server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut world = World::on(server, "s", "{s}", "g").await;
    for (id, ms) in [("1-0", "0"), ("2-0", "3600000")] {
        world.give(id, "me", 0, 1).await;
        world.call(delay("me", DELAYED, &[id, "4", ms])).await;
    }
    world.server.restart();
    world.conn = world.server.connection().await;
    assert_eq!(world.pending().await, [state("1-0", DELAYED, 4), state("2-0", DELAYED, 4)]);
    assert!(is_about(world.idle("1-0").await, DAY));
    assert!(is_about(world.idle("2-0").await, DAY - 3_600_000));
    let claimed = world.call(claim("me", DELAYED, "8")).await;
    assert_eq!(claimed, json!([["1-0", 5, ["type", "t", "payload", "{}"]]]));
}

#[tokio::test]
async fn a_missing_group_is_an_error() {
    let mut world = World::start().await;
    let error = world
        .try_call(delay("me", DELAYED, &["1-0", "1", "0"]).with("source", "{s}:dlq:g"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("NOGROUP"));
}
