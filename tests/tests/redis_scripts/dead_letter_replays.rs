//! dead_letter.lua: a replay that failed is a new dead letter in place of the old one.

use serde_json::{Value, json};

use super::call::{claim, dead_letter};
use super::world::{DAY, DELAYED, World, state};

/// Dead-letters the replay of `id`.
async fn dead_letter_again(world: &mut World, id: &str, why: &[&str]) -> Value {
    world.call_replays(dead_letter(id, "1000", why)).await
}

/// Adds a dead letter, pending at `owner`.
async fn letter(world: &mut World, owner: &str, fields: &[&str]) {
    world.run(&[&["XADD", "{s}:dlq:g", "1-0"], fields].concat()).await;
    world.run(&["XGROUP", "CREATE", "{s}:dlq:g", "g", "$"]).await;
    world.run(&["XCLAIM", "{s}:dlq:g", "g", owner, "0", "1-0", "FORCE", "JUSTID"]).await;
}

const OLD: [&str; 10] = [
    "dlq.id",
    "7-0",
    "dlq.reason",
    "crashed",
    "dlq.first",
    "long ago",
    "dlq.attempts",
    "6",
    "type",
    "t",
];
const WHY: [&str; 8] =
    ["dlq.id", "1-0", "dlq.reason", "rejected", "dlq.first", "now", "dlq.attempts", "1"];

#[tokio::test]
async fn it_keeps_its_first_id_and_time_and_has_the_new_reason() {
    let mut world = World::start().await;
    letter(&mut world, "me", &OLD).await;
    assert_eq!(dead_letter_again(&mut world, "1-0", &WHY).await, json!([1, 0]));
    let expected = json!([
        "dlq.id",
        "7-0",
        "dlq.first",
        "long ago",
        "dlq.reason",
        "rejected",
        "dlq.attempts",
        "1",
        "type",
        "t"
    ]);
    assert_eq!(world.letters().await, [expected]);
    assert_eq!(world.run(&["XRANGE", "{s}:dlq:g", "1-0", "1-0"]).await, json!([]));
    assert_eq!(world.replays().await, []);
}

#[tokio::test]
async fn one_that_another_consumer_replays_by_now_stays_as_it_is() {
    let mut world = World::start().await;
    letter(&mut world, "other", &OLD).await;
    assert_eq!(dead_letter_again(&mut world, "1-0", &WHY).await, json!([0, 0]));
    assert_eq!(world.letters().await, [json!(OLD)]);
    assert_eq!(world.replays().await, [state("1-0", "other", 1)]);
}

#[tokio::test]
async fn packed_fields_stay_packed() {
    let mut world = World::start().await;
    letter(&mut world, "me", &["dlq.id", "7-0", "dlq.raw", "packed"]).await;
    dead_letter_again(&mut world, "1-0", &["dlq.reason", "rejected"]).await;
    let expected = json!(["dlq.id", "7-0", "dlq.raw", "packed", "dlq.reason", "rejected"]);
    assert_eq!(world.letters().await, [expected]);
}

/// Claims the only dead letter. Returns its ID and its fields.
async fn claim_letter(world: &mut World) -> (String, Vec<String>) {
    let id = world.run(&["XRANGE", "{s}:dlq:g", "-", "+"]).await[0][0].clone();
    let (id, day) = (id.as_str().unwrap(), DAY.to_string());
    let xclaim = ["XCLAIM", "{s}:dlq:g", "g", DELAYED, "0", id, "IDLE", &day, "FORCE"];
    world.run(&xclaim).await;
    let claimed = world.call_replays(claim("me", DELAYED, "1")).await;
    (id.to_owned(), serde_json::from_value(claimed[0][2].clone()).unwrap())
}

#[tokio::test]
async fn one_of_very_many_fields_is_replayed_and_dead_lettered_as_often_as_anybody_likes() {
    let mut world = World::start().await;
    let fields: Vec<String> = (0..3_900).flat_map(|n| [n.to_string(), "v".into()]).collect();
    let words: Vec<&str> = fields.iter().map(String::as_str).collect();
    letter(&mut world, DELAYED, &[&OLD[..8], &words].concat()).await;
    for _ in 0..3 {
        let (id, claimed) = claim_letter(&mut world).await;
        let (ours, original): (Vec<&[String]>, Vec<&[String]>) =
            claimed.chunks(2).partition(|field| field[0].starts_with("dlq."));
        assert!(original.concat() == fields, "{} fields", original.len());
        let name = ours.iter().rfind(|field| field[0] == "dlq.id");
        assert_eq!(name.unwrap()[1], "7-0");
        assert_eq!(dead_letter_again(&mut world, &id, &WHY).await, json!([1, 0]));
    }
}
