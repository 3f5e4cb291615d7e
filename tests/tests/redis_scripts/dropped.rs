//! dead_letter.lua: what the maximum length costs is counted.

use serde_json::json;

use super::call::dead_letter;
use super::world::World;

/// Dead-letters `count` entries at a maximum length of 100. Returns how many were dropped by that, as the replies tell.
async fn dropped_of(world: &mut World, count: u64) -> u64 {
    let mut dropped = 0;
    for n in 1..=count {
        let id = format!("{n}-0");
        world.give(&id, "me", 0, 1).await;
        let why = ["dlq.reason", "rejected", "dlq.last", "2026-01-01T00:00:00Z"];
        let reply = world.call(dead_letter(&id, "100", &why)).await;
        assert_eq!(reply[0], json!(1));
        dropped += reply[1].as_u64().unwrap();
    }
    dropped
}

#[tokio::test]
async fn case_12_each_dead_letter_that_is_dropped_is_counted_once() {
    let mut world = World::start().await;
    let dropped = dropped_of(&mut world, 250).await;
    let kept = world.run(&["XLEN", "{s}:dlq:g"]).await.as_u64().unwrap();
    assert_eq!((dropped, kept), (150, 100));
    let counted = json!({
        "v": 1, "stored": 250, "dropped": dropped, "lastReason": "rejected",
        "lastTime": "2026-01-01T00:00:00Z",
    });
    assert_eq!(world.json("dead").await, counted);
}

#[tokio::test]
async fn case_03_dead_letters_keep_their_maximum_where_all_entries_share_a_node() {
    let mut world = World::start().await;
    world.run(&["CONFIG", "SET", "stream-node-max-entries", "0"]).await;
    world.run(&["CONFIG", "SET", "stream-node-max-bytes", "0"]).await;
    assert_eq!(dropped_of(&mut world, 110).await, 10);
    assert_eq!(world.run(&["XLEN", "{s}:dlq:g"]).await, json!(100));
}

#[tokio::test]
async fn case_12_a_replay_that_fails_is_replaced_and_not_dropped_where_it_is_the_oldest() {
    let mut world = World::start().await;
    for n in 1..=150 {
        world.give_replay(&format!("{n}-0"), "me", 0, 1).await;
    }
    let letter = dead_letter("1-0", "1", &["dlq.reason", "rejected"]);
    let dropped = world.call_replays(letter).await[1].as_u64().unwrap();
    let kept = world.run(&["XLEN", "{s}:dlq:g"]).await.as_u64().unwrap();
    assert_eq!((dropped, kept), (149, 1));
    assert_eq!(world.run(&["XRANGE", "{s}:dlq:g", "1-0", "1-0"]).await, json!([]));
    assert_eq!(world.json("dead").await["dropped"], json!(dropped));
}

#[tokio::test]
async fn case_12_what_is_dropped_is_told_where_it_cannot_be_stored_or_sums_make_no_sense() {
    let mut world = World::start().await;
    world.run(&["SET", "{s}:eventbus:consumers:g", "x"]).await;
    let dropped = dropped_of(&mut world, 250).await;
    assert_eq!(dropped, 150);
    for odd in ["", "[7]", r#"{"stored":"nan","dropped":1e999,"x":1e999}"#] {
        let mut world = World::start().await;
        world.set_field("dead", odd).await;
        world.give("1-0", "me", 0, 1).await;
        let why = ["dlq.reason", "rejected"];
        assert_eq!(world.try_dead_letter("1-0", &why).await.unwrap(), json!([1, 0]), "{odd}");
        assert_eq!(world.json("dead").await["stored"], json!(1), "{odd}");
    }
}
