//! leave.lua: the name is removed, its counts stay.

use redis::RedisResult;
use serde_json::{Value, json};

use super::call::LEAVE;
use super::world::{World, state};

impl World {
    pub async fn try_leave(&mut self, counts: &[&str]) -> RedisResult<Value> {
        self.try_call(LEAVE.by("me").and_all(counts)).await
    }
}

#[tokio::test]
async fn with_nothing_pending_the_name_and_its_field_are_removed_and_others_stay() {
    let mut world = World::start().await;
    for name in ["me", "other"] {
        world.run(&["XGROUP", "CREATECONSUMER", "s", "g", name]).await;
        world.set_field(&format!("c:{name}"), "{}").await;
    }
    assert_eq!(world.try_leave(&["received", "3"]).await.unwrap(), json!(1));
    assert_eq!(world.consumers("s").await, ["other"]);
    assert_eq!(world.field("c:me").await, Value::Null);
    assert_eq!(world.field("c:other").await, json!("{}"));
}

#[tokio::test]
async fn the_sums_of_those_gone_add_up_and_keep_what_a_newer_program_put_there() {
    let mut world = World::start().await;
    world.set_field("gone", r#"{"v":1,"received":4,"future":"x"}"#).await;
    for _ in 0..2 {
        world.try_leave(&["received", "3", "dead", "1"]).await.unwrap();
    }
    let expected = json!({"v": 1, "received": 10, "dead": 2, "future": "x"});
    assert_eq!(world.json("gone").await, expected);
}

#[tokio::test]
async fn sums_that_make_no_sense_begin_anew() {
    for odd in ["", "{broken", "null", "7", r#"{"received":null}"#, r#"{"received":"many"}"#] {
        let mut world = World::start().await;
        world.set_field("gone", odd).await;
        assert_eq!(world.try_leave(&["received", "3"]).await.unwrap(), json!(1), "{odd}");
        assert_eq!(world.json("gone").await, json!({"v": 1, "received": 3}), "{odd}");
    }
}

#[tokio::test]
async fn while_something_is_pending_everything_stays() {
    let mut world = World::start().await;
    world.set_field("c:me", "{}").await;
    world.give("1-0", "me", 0, 2).await;
    assert_eq!(world.try_leave(&["received", "3"]).await.unwrap(), json!(0));
    assert_eq!(world.pending().await, [state("1-0", "me", 2)]);
    assert_eq!((world.field("c:me").await, world.field("gone").await), (json!("{}"), Value::Null));
}

#[tokio::test]
async fn while_a_replay_is_pending_everything_stays() {
    let mut world = World::start().await;
    world.run(&["XGROUP", "CREATECONSUMER", "s", "g", "me"]).await;
    world.give_replay("1-0", "me", 0, 2).await;
    assert_eq!(world.try_leave(&["received", "3"]).await.unwrap(), json!(0));
    assert_eq!(world.consumers("s").await, ["me"]);
    assert_eq!(world.replays().await, [state("1-0", "me", 2)]);
}

#[tokio::test]
async fn entries_that_others_hold_do_not_keep_a_consumer_from_leaving() {
    let mut world = World::start().await;
    world.give("1-0", "other", 0, 2).await;
    world.give_replay("1-0", "other", 0, 2).await;
    assert_eq!(world.try_leave(&[]).await.unwrap(), json!(1));
    assert_eq!(world.pending().await, [state("1-0", "other", 2)]);
    assert_eq!(world.replays().await, [state("1-0", "other", 2)]);
}

#[tokio::test]
async fn the_name_is_removed_from_the_dead_letters_too() {
    let mut world = World::start().await;
    world.give_replay("1-0", "me", 0, 1).await;
    world.run(&["XACK", "{s}:dlq:g", "g", "1-0"]).await;
    assert_eq!(world.consumers("{s}:dlq:g").await, ["me"]);
    assert_eq!(world.try_leave(&[]).await.unwrap(), json!(1));
    assert_eq!(world.consumers("{s}:dlq:g").await, Vec::<String>::new());
}

#[tokio::test]
async fn with_dead_letters_or_a_hash_of_another_type_the_name_is_removed_all_the_same() {
    for key in ["{s}:dlq:g", "{s}:eventbus:consumers:g"] {
        let mut world = World::start().await;
        world.run(&["XGROUP", "CREATECONSUMER", "s", "g", "me"]).await;
        world.run(&["SET", key, "x"]).await;
        assert_eq!(world.try_leave(&["received", "3"]).await.unwrap(), json!(1), "{key}");
        assert_eq!(world.consumers("s").await, Vec::<String>::new(), "{key}");
    }
}

#[tokio::test]
async fn a_missing_group_is_an_error() {
    let mut world = World::start().await;
    world.run(&["XGROUP", "DESTROY", "s", "g"]).await;
    assert_eq!(world.try_leave(&[]).await.unwrap_err().code(), Some("NOGROUP"));
}
