//! next_in_order.lua: the oldest entry that is not done, and nothing beside it.

use redis::RedisResult;
use serde_json::{Value, json};

use super::call::NEXT_IN_ORDER;
use super::world::{DAY, DELAYED, FOREIGN_LEASE, LEASE, SLACK, SUSPECT, World, is_about, state};

const FIELDS: [&str; 4] = ["type", "t", "payload", "{}"];

impl World {
    pub async fn try_next(&mut self, me: &str, done: &str) -> RedisResult<Value> {
        let (lease, foreign_lease) = (LEASE.to_string(), FOREIGN_LEASE.to_string());
        let call = NEXT_IN_ORDER.by(me).with("lease", &lease);
        self.try_call(call.with("foreign_lease", &foreign_lease).with("done", done)).await
    }

    async fn next(&mut self, done: &str) -> Value {
        self.try_next("me", done).await.unwrap()
    }
}

/// How long `reply` says to wait, in ms.
fn wait(reply: &Value) -> u64 {
    assert_eq!((&reply[0], &reply[1]), (&json!(1), &json!("wait")), "{reply}");
    reply[2].as_u64().unwrap()
}

fn is_just_under(wait: u64, expected: u64) -> bool {
    (expected - SLACK..=expected).contains(&wait)
}

#[tokio::test]
async fn with_nothing_pending_one_new_entry_is_read_at_its_first_attempt() {
    let mut world = World::start().await;
    world.add("1-0").await;
    world.add("2-0").await;
    assert_eq!(world.next("").await, json!([1, "entry", "", "1-0", 1, FIELDS]));
    assert_eq!(world.pending().await, [state("1-0", "me", 1)]);
}

#[tokio::test]
async fn what_is_done_is_acknowledged_with_the_call_for_the_next() {
    let mut world = World::start().await;
    world.add("1-0").await;
    world.add("2-0").await;
    world.next("").await;
    assert_eq!(world.next("1-0").await, json!([1, "entry", "", "2-0", 1, FIELDS]));
    assert_eq!(world.pending().await, [state("2-0", "me", 1)]);
}

#[tokio::test]
async fn at_the_end_the_last_delivered_entry_is_returned() {
    let mut world = World::start().await;
    world.run(&["XGROUP", "CREATE", "s", "another", "9-0"]).await;
    assert_eq!(world.next("").await, json!([1, "empty", "0-0"]));
    world.add("1-0").await;
    world.next("").await;
    assert_eq!(world.next("1-0").await, json!([1, "empty", "1-0"]));
}

#[tokio::test]
async fn if_the_caller_does_not_hold_what_it_has_done_nothing_follows() {
    let mut world = World::start().await;
    world.give("1-0", "other", 0, 1).await;
    world.add("2-0").await;
    assert_eq!(world.next("1-0").await, json!([0]));
    assert_eq!(world.next("9-0").await, json!([0]), "it is pending with nobody");
    assert_eq!(world.pending().await, [state("1-0", "other", 1)]);
}

#[tokio::test]
async fn an_own_entry_whose_reply_was_lost_comes_again_under_the_same_attempt() {
    let mut world = World::start().await;
    for (id, attempts, attempt) in [("1-0", 3, 3), ("2-0", 0, 1)] {
        world.give(id, "me", 1_000, attempts).await;
        let reply = world.next("").await;
        assert_eq!(reply, json!([1, "entry", "", id, attempt, FIELDS]));
        assert_eq!(world.pending().await, [state(id, "me", attempt)]);
        assert!(is_about(world.idle(id).await, 0));
        world.run(&["XACK", "s", "g", id]).await;
    }
}

#[tokio::test]
async fn what_waits_holds_the_others_up_until_it_is_due() {
    for owner in [DELAYED, SUSPECT] {
        let mut world = World::start().await;
        world.give("1-0", owner, DAY - 60_000, 1).await;
        world.give("2-0", DELAYED, DAY, 1).await;
        assert!(is_just_under(wait(&world.next("").await), 60_000));
        assert_eq!(world.pending().await, [state("1-0", owner, 1), state("2-0", DELAYED, 1)]);
    }
}

#[tokio::test]
async fn what_is_due_comes_with_its_next_attempt_and_where_it_waited() {
    for (owner, pool) in [(DELAYED, "delayed"), (SUSPECT, "suspect")] {
        let mut world = World::start().await;
        world.give("1-0", owner, DAY, 1).await;
        assert_eq!(world.next("").await, json!([1, "entry", pool, "1-0", 2, FIELDS]));
        assert_eq!(world.pending().await, [state("1-0", "me", 2)]);
        assert!(is_about(world.idle("1-0").await, 0));
    }
}

#[tokio::test]
async fn what_another_consumer_has_in_flight_is_a_suspect_when_the_larger_lease_is_over() {
    for (reported, lease) in [("1000", LEASE), ("60000", 60_000)] {
        let mut world = World::start().await;
        world.set_field("c:other", &format!(r#"{{"lease":{reported}}}"#)).await;
        world.give("1-0", "other", lease - 20_000, 1).await;
        assert!(is_just_under(wait(&world.next("").await), 20_000));
        assert_eq!(world.pending().await, [state("1-0", "other", 1)]);
        world.run(&["XCLAIM", "s", "g", "other", "0", "1-0", "IDLE", "60000", "JUSTID"]).await;
        assert_eq!(world.next("").await, json!([1, "entry", "suspect", "1-0", 2, FIELDS]));
        assert_eq!(world.pending().await, [state("1-0", "me", 2)]);
    }
}

#[tokio::test]
async fn a_consumer_that_never_reported_its_lease_has_the_foreign_lease() {
    let mut world = World::start().await;
    world.give("1-0", "stranger", FOREIGN_LEASE - 20_000, 1).await;
    assert!(is_just_under(wait(&world.next("").await), 20_000));
}

#[tokio::test]
async fn an_owner_whose_lease_is_unreadable_does_not_block_the_group_for_ever() {
    let (nonsense, max) = (FOREIGN_LEASE, 3_600_000);
    for (reported, lease) in [
        ("", nonsense),
        ("{broken", nonsense),
        ("null", nonsense),
        ("[]", nonsense),
        (r#"{"lease":null}"#, nonsense),
        (r#"{"lease":-1}"#, LEASE),
        (r#"{"lease":60000.5}"#, 60_000),
        (r#"{"lease":1e999}"#, max),
    ] {
        let mut world = World::start().await;
        world.set_field("c:other", reported).await;
        world.give("1-0", "other", lease - 20_000, 1).await;
        assert!(is_just_under(wait(&world.next("").await), 20_000), "{reported}");
    }
}

#[tokio::test]
async fn a_hash_of_another_type_does_not_block_the_group_for_ever() {
    let mut world = World::start().await;
    world.run(&["SET", "{s}:eventbus:consumers:g", "x"]).await;
    world.give("1-0", "other", 3_600_000 - 20_000, 1).await;
    assert!(is_just_under(wait(&world.next("").await), 20_000));
}

#[tokio::test]
async fn an_entry_that_was_trimmed_meanwhile_has_no_fields_and_is_pending_no_more() {
    let mut world = World::start().await;
    world.give("1-0", DELAYED, DAY, 1).await;
    world.run(&["XDEL", "s", "1-0"]).await;
    assert_eq!(world.next("").await, json!([1, "entry", "delayed", "1-0", 2, null]));
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn two_that_ask_get_one_entry_between_them() {
    let mut world = World::start().await;
    world.set_field("c:me", r#"{"lease":30000}"#).await;
    world.add("1-0").await;
    world.add("2-0").await;
    world.next("").await;
    let reply = world.try_next("you", "").await.unwrap();
    assert!(is_just_under(wait(&reply), LEASE));
}

#[tokio::test]
async fn a_missing_group_is_an_error() {
    let mut world = World::start().await;
    world.run(&["XGROUP", "DESTROY", "s", "g"]).await;
    for done in ["", "1-0"] {
        assert_eq!(world.try_next("me", done).await.unwrap_err().code(), Some("NOGROUP"));
    }
}
