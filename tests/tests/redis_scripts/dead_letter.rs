//! dead_letter.lua: an entry becomes a dead letter or stays pending.

use redis::RedisError;
use serde_json::{Value, json};

use super::call::dead_letter;
use super::world::{DELAYED, World, is_about, state};

const WHY: [&str; 4] = ["dlq.reason", "exhausted", "dlq.attempts", "5"];

impl World {
    pub async fn try_dead_letter(&mut self, id: &str, why: &[&str]) -> Result<Value, RedisError> {
        self.try_call(dead_letter(id, "1000", why)).await
    }

    /// The fields of all dead letters.
    pub async fn letters(&mut self) -> Vec<Value> {
        let key = self.dead_letters.clone();
        let range = self.run(&["XRANGE", &key, "-", "+"]).await;
        range.as_array().unwrap().iter().map(|letter| letter[1].clone()).collect()
    }
}

#[tokio::test]
async fn a_dead_letter_has_its_reason_and_the_original_fields_in_their_order() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 5).await;
    assert_eq!(world.try_dead_letter("1-0", &WHY).await.unwrap(), json!([1, 0]));
    let expected =
        json!(["dlq.reason", "exhausted", "dlq.attempts", "5", "type", "t", "payload", "{}"]);
    assert_eq!(world.letters().await, [expected]);
    assert_eq!(world.pending().await, []);
    assert_eq!(world.run(&["XLEN", "s"]).await, json!(1), "other groups may need it");
}

#[tokio::test]
async fn odd_bytes_empty_names_and_repeated_fields_are_kept() {
    let mut world = World::start().await;
    let fields: [(&[u8], &[u8]); 4] =
        [(b"a", b"\xff\0"), (b"", b""), (b"a", b"2"), (b"dlq", b"no prefix")];
    redis::cmd("XADD").arg("s").arg("1-0").arg(&fields).exec_async(&mut world.conn).await.unwrap();
    world.run(&["XCLAIM", "s", "g", "me", "0", "1-0", "FORCE"]).await;
    world.try_dead_letter("1-0", &["dlq.reason", "rejected"]).await.unwrap();
    let mut range = redis::cmd("XRANGE");
    let range = range.arg("{s}:dlq:g").arg("-").arg("+");
    let letters: Vec<(String, Vec<Vec<u8>>)> = range.query_async(&mut world.conn).await.unwrap();
    let kept: Vec<&[u8]> = letters[0].1[2..].iter().map(Vec::as_slice).collect();
    assert_eq!(kept, fields.iter().flat_map(|(name, value)| [*name, *value]).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_entry_that_another_consumer_holds_is_not_dead_lettered() {
    let mut world = World::start().await;
    world.give("1-0", "other", 5_000, 5).await;
    world.give("2-0", DELAYED, 5_000, 5).await;
    assert_eq!(world.try_dead_letter("1-0", &WHY).await.unwrap(), json!([0, 0]));
    assert_eq!(world.try_dead_letter("2-0", &WHY).await.unwrap(), json!([0, 0]));
    assert_eq!(world.letters().await, Vec::<Value>::new());
    assert_eq!(world.pending().await, [state("1-0", "other", 5), state("2-0", DELAYED, 5)]);
    assert!(is_about(world.idle("1-0").await, 5_000));
}

#[tokio::test]
async fn dead_lettered_twice_it_is_one_dead_letter() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 5).await;
    assert_eq!(world.try_dead_letter("1-0", &WHY).await.unwrap(), json!([1, 0]));
    assert_eq!(world.try_dead_letter("1-0", &WHY).await.unwrap(), json!([0, 0]));
    assert_eq!(world.try_dead_letter("9-0", &WHY).await.unwrap(), json!([0, 0]));
    assert_eq!(world.letters().await.len(), 1);
}

#[tokio::test]
async fn where_the_dead_letters_are_of_another_type_the_entry_stays_pending() {
    let mut world = World::start().await;
    world.run(&["SET", "{s}:dlq:g", "x"]).await;
    world.give("1-0", "me", 5_000, 5).await;
    let error = world.try_dead_letter("1-0", &WHY).await.unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    assert_eq!(world.pending().await, [state("1-0", "me", 5)]);
    assert!(is_about(world.idle("1-0").await, 5_000));
}

#[tokio::test]
async fn an_entry_that_was_trimmed_meanwhile_is_a_dead_letter_without_its_fields() {
    let mut world = World::start().await;
    world.give("1-0", "me", 0, 5).await;
    world.run(&["XDEL", "s", "1-0"]).await;
    assert_eq!(world.try_dead_letter("1-0", &WHY).await.unwrap(), json!([1, 0]));
    assert_eq!(world.letters().await, [json!(WHY)]);
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn an_event_cannot_pass_off_fields_of_its_own_for_those_of_the_dead_letter() {
    let mut world = World::start().await;
    world.run(&["XADD", "s", "1-0", "dlq.reason", "fine", "type", "t", "dlq.id", "8-8"]).await;
    world.run(&["XCLAIM", "s", "g", "me", "0", "1-0", "FORCE"]).await;
    world.try_dead_letter("1-0", &["dlq.id", "1-0", "dlq.reason", "rejected"]).await.unwrap();
    let expected = json!(["dlq.id", "1-0", "dlq.reason", "rejected", "type", "t"]);
    assert_eq!(world.letters().await, [expected]);
}

/// Dead-letters an entry of so many fields. Returns the names of the dead letter's fields.
async fn names_of_a_letter_of(count: usize) -> Vec<String> {
    let mut world = World::start().await;
    let fields: Vec<(String, String)> = (0..count).map(|n| (n.to_string(), "v".into())).collect();
    redis::cmd("XADD").arg("s").arg("1-0").arg(&fields).exec_async(&mut world.conn).await.unwrap();
    world.run(&["XCLAIM", "s", "g", "me", "0", "1-0", "FORCE"]).await;
    let why: Vec<String> = (0..8).flat_map(|n| [format!("dlq.{n}"), "x".into()]).collect();
    let why: Vec<&str> = why.iter().map(String::as_str).collect();
    world.try_dead_letter("1-0", &why).await.unwrap();
    let letter = world.letters().await.remove(0);
    let names = letter.as_array().unwrap().iter().step_by(2);
    names.map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn very_many_fields_are_packed_in_one() {
    let names = names_of_a_letter_of(3_900).await;
    assert_eq!((names.len(), names[8].as_str()), (3_908, "0"));
    let names = names_of_a_letter_of(3_901).await;
    assert_eq!((names.len(), names[8].as_str()), (9, "dlq.raw"));
}

#[tokio::test]
async fn about_as_many_are_kept_as_was_asked_for_and_those_the_newest() {
    let mut world = World::start().await;
    for n in 1..=500 {
        let id = format!("{n}-0");
        world.give(&id, "me", 0, 1).await;
        world.call(dead_letter(&id, "150", &["dlq.id", &id])).await;
    }
    let letters = world.letters().await;
    assert!((150..=350).contains(&letters.len()), "{}", letters.len());
    assert_eq!(letters.last().unwrap()[1], "500-0");
}

#[tokio::test]
async fn a_missing_group_is_an_error() {
    let mut world = World::start().await;
    world.run(&["XGROUP", "DESTROY", "s", "g"]).await;
    let error = world.try_dead_letter("1-0", &WHY).await.unwrap_err();
    assert_eq!(error.code(), Some("NOGROUP"));
}
