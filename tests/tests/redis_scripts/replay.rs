//! replay.lua: a dead letter becomes pending where it lies.

use redis::RedisResult;
use serde_json::{Value, json};

use super::call::{REPLAY, claim};
use super::world::{DAY, DELAYED, Heartbeat, World, is_about, state};

impl World {
    pub async fn try_replay(&mut self, id: &str) -> RedisResult<Value> {
        self.try_call(REPLAY.call().with("id", id)).await
    }
}

/// With dead letters 1-0 and 2-0 that nobody ever replayed.
async fn two() -> World {
    let mut world = World::start().await;
    for id in ["1-0", "2-0"] {
        world.run(&["XADD", "{s}:dlq:g", id, "type", "t"]).await;
    }
    world
}

#[tokio::test]
async fn it_is_due_at_once_with_no_attempt_begun_and_a_heartbeat_reports_it() {
    let mut world = two().await;
    assert_eq!(world.try_replay("2-0").await.unwrap(), json!(1));
    assert_eq!(world.replays().await, [state("2-0", DELAYED, 0)]);
    assert!(is_about(world.replay_idle("2-0").await, DAY));
    assert_eq!(world.heartbeat(Heartbeat::default()).await.replays, 1);
    let claimed = world.call_replays(claim("me", DELAYED, "8")).await;
    assert_eq!(claimed, json!([["2-0", 1, ["type", "t"]]]));
}

#[tokio::test]
async fn nothing_but_what_was_asked_for_is_ever_read_there() {
    let mut world = two().await;
    world.try_replay("1-0").await.unwrap();
    let read = ["XREADGROUP", "GROUP", "g", "me", "STREAMS", "{s}:dlq:g", ">"];
    assert_eq!(world.run(&read).await, Value::Null);
    assert_eq!(world.run(&["XLEN", "{s}:dlq:g"]).await, json!(2), "it lies where it was");
}

#[tokio::test]
async fn one_that_is_being_replayed_stays_with_whoever_has_it() {
    let mut world = two().await;
    world.try_replay("1-0").await.unwrap();
    assert_eq!(world.try_replay("1-0").await.unwrap(), json!(0), "it is due");
    world.call_replays(claim("me", DELAYED, "8")).await;
    assert_eq!(world.try_replay("1-0").await.unwrap(), json!(0), "it is in flight");
    assert_eq!(world.replays().await, [state("1-0", "me", 1)]);
}

#[tokio::test]
async fn one_that_is_not_there_is_not_replayed_and_nothing_is_made_for_it() {
    let mut world = World::start().await;
    assert_eq!(world.try_replay("1-0").await.unwrap(), json!(0));
    assert_eq!(world.run(&["EXISTS", "{s}:dlq:g"]).await, json!(0));
    world.run(&["XADD", "{s}:dlq:g", "1-0", "type", "t"]).await;
    assert_eq!(world.try_replay("9-0").await.unwrap(), json!(0));
    assert_eq!(world.run(&["XINFO", "GROUPS", "{s}:dlq:g"]).await, json!([]));
}

#[tokio::test]
async fn one_that_was_trimmed_while_it_waited_is_gone() {
    let mut world = two().await;
    world.try_replay("1-0").await.unwrap();
    world.run(&["XDEL", "{s}:dlq:g", "1-0"]).await;
    assert_eq!(world.try_replay("1-0").await.unwrap(), json!(0));
    let claimed = world.call_replays(claim("me", DELAYED, "8")).await;
    assert_eq!(claimed, json!([["1-0", 1, null]]));
}

#[tokio::test]
async fn a_key_of_another_type_is_an_error() {
    let mut world = World::start().await;
    world.run(&["SET", "{s}:dlq:g", "x"]).await;
    assert_eq!(world.try_replay("1-0").await.unwrap_err().code(), Some("WRONGTYPE"));
}
