//! acknowledge.lua: only entries that the caller still holds.

use serde_json::json;

use super::call::acknowledge;
use super::world::{World, state};

const KEEP: &str = "0";
const DELETE: &str = "1";

#[tokio::test]
async fn an_own_entry_is_acknowledged_and_stays_in_the_stream() {
    let mut world = World::start().await;
    world.give("1-0", "me", 99_000, 1).await;
    world.give("2-0", "me", 0, 1).await;
    world.give("3-0", "me", 0, 1).await;
    let count = world.call(acknowledge("me", KEEP, &["1-0", "3-0"])).await;
    assert_eq!(count, json!(2));
    assert_eq!(world.pending().await, [state("2-0", "me", 1)]);
    assert_eq!(world.run(&["XLEN", "s"]).await, json!(3));
}

#[tokio::test]
async fn an_entry_that_another_consumer_holds_stays_pending_there() {
    let mut world = World::start().await;
    world.give("1-0", "other", 0, 2).await;
    world.give("2-0", "me", 0, 1).await;
    assert_eq!(world.call(acknowledge("me", KEEP, &["1-0", "2-0"])).await, json!(1));
    assert_eq!(world.pending().await, [state("1-0", "other", 2)]);
}

#[tokio::test]
async fn an_entry_that_is_not_pending_is_not_counted() {
    let mut world = World::start().await;
    world.add("1-0").await;
    assert_eq!(world.call(acknowledge("me", KEEP, &["1-0", "9-0"])).await, json!(0));
}

#[tokio::test]
async fn an_entry_that_was_trimmed_meanwhile_is_acknowledged_all_the_same() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 1).await;
    world.run(&["XDEL", "s", "1-0"]).await;
    assert_eq!(world.call(acknowledge("me", KEEP, &["1-0"])).await, json!(1));
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn an_acknowledged_replay_is_deleted_and_those_of_others_are_untouched() {
    let mut world = World::start().await;
    world.give_replay("1-0", "me", 0, 1).await;
    world.give_replay("2-0", "other", 0, 1).await;
    world.give_replay("3-0", "me", 0, 1).await;
    let count = world.call_replays(acknowledge("me", DELETE, &["1-0", "2-0", "9-0"])).await;
    assert_eq!(count, json!(1));
    assert_eq!(world.replays().await, [state("2-0", "other", 1), state("3-0", "me", 1)]);
    let ids = world.run(&["XRANGE", "{s}:dlq:g", "-", "+"]).await;
    assert_eq!((&ids[0][0], &ids[1][0]), (&json!("2-0"), &json!("3-0")));
}

#[tokio::test]
async fn a_missing_group_is_an_error() {
    let mut world = World::start().await;
    world.run(&["XGROUP", "DESTROY", "s", "g"]).await;
    let error = world.try_call(acknowledge("me", KEEP, &["1-0"])).await.unwrap_err();
    assert_eq!(error.code(), Some("NOGROUP"));
}
