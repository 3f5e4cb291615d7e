//! claim.lua: a due entry goes to the first consumer that asks.

use std::collections::BTreeSet;

use eventbus::admin::Connection;
use serde_json::json;
use tests::subscriber::LONG;
use tests::wait;

use super::call::claim;
use super::world::{DAY, DELAYED, SUSPECT, World, is_about, state};

#[tokio::test]
async fn an_entry_that_is_due_is_claimed_with_its_next_attempt_and_its_fields() {
    let mut world = World::start().await;
    world.give("1-0", DELAYED, DAY, 2).await;
    let claimed = world.call(claim("me", DELAYED, "8")).await;
    assert_eq!(claimed, json!([["1-0", 3, ["type", "t", "payload", "{}"]]]));
    assert_eq!(world.pending().await, [state("1-0", "me", 3)]);
    assert!(is_about(world.idle("1-0").await, 0));
}

#[tokio::test]
async fn what_is_not_due_stays() {
    let mut world = World::start().await;
    world.give("1-0", DELAYED, DAY - 60_000, 1).await;
    world.give("2-0", DELAYED, DAY, 1).await;
    let claimed = world.call(claim("me", DELAYED, "8")).await;
    assert_eq!(claimed[0][0], json!("2-0"));
    assert_eq!(world.pending().await, [state("1-0", DELAYED, 1), state("2-0", "me", 2)]);
}

#[tokio::test]
async fn only_the_pool_that_was_asked_for_is_touched() {
    let mut world = World::start().await;
    for (id, owner) in [("1-0", DELAYED), ("2-0", SUSPECT), ("3-0", "other")] {
        world.give(id, owner, DAY, 1).await;
    }
    let claimed = world.call(claim("me", SUSPECT, "8")).await;
    assert_eq!((&claimed[0][0], claimed.as_array().unwrap().len()), (&json!("2-0"), 1));
    let expected = [state("1-0", DELAYED, 1), state("2-0", "me", 2), state("3-0", "other", 1)];
    assert_eq!(world.pending().await, expected);
}

#[tokio::test]
async fn of_very_many_the_oldest_are_claimed_and_no_more_than_asked_for() {
    let mut world = World::start().await;
    let mut batch = redis::pipe();
    for n in 1..=10_000 {
        batch.cmd("XADD").arg("s").arg(format!("{n}-0")).arg("f").arg("v").ignore();
        let claim = batch.cmd("XCLAIM").arg("s").arg("g").arg(DELAYED).arg(0);
        claim.arg(format!("{n}-0")).arg("IDLE").arg(DAY).arg("FORCE").arg("JUSTID").ignore();
    }
    batch.query_async::<()>(&mut world.conn).await.unwrap();
    let claimed = world.call(claim("me", DELAYED, "8")).await;
    let ids: Vec<&str> =
        claimed.as_array().unwrap().iter().map(|entry| entry[0].as_str().unwrap()).collect();
    assert_eq!(ids, ["1-0", "2-0", "3-0", "4-0", "5-0", "6-0", "7-0", "8-0"]);
    let rest = world.pending().await.into_iter().filter(|entry| entry.1 == DELAYED).count();
    assert_eq!(rest, 9_992);
}

#[tokio::test]
async fn an_entry_that_was_trimmed_meanwhile_has_no_fields_and_is_pending_no_more() {
    let mut world = World::start().await;
    world.give("1-0", DELAYED, DAY, 2).await;
    world.give("2-0", DELAYED, DAY, 2).await;
    world.run(&["XDEL", "s", "1-0"]).await;
    let claimed = world.call(claim("me", DELAYED, "8")).await;
    let fields = ["type", "t", "payload", "{}"];
    assert_eq!(claimed, json!([["1-0", 3, null], ["2-0", 3, fields]]));
    assert_eq!(world.pending().await, [state("2-0", "me", 3)]);
}

#[tokio::test]
async fn two_consumers_that_claim_at_once_never_get_the_same_entry() {
    let mut world = World::start().await;
    for n in 1..=200 {
        world.give(&format!("{n}-0"), DELAYED, DAY, 1).await;
    }
    let ask = async |name: &str, mut conn: Connection| {
        let mut ids = Vec::new();
        loop {
            let claim = claim(name, DELAYED, "3").command(&[("source", "s")], &[("group", "g")]);
            let claimed: Vec<(String, u32, Vec<String>)> =
                claim.query_async(&mut conn).await.unwrap();
            if claimed.is_empty() {
                return ids;
            }
            ids.extend(claimed.into_iter().map(|(id, ..)| id));
        }
    };
    // Both are connected before one begins, so that neither finds the other done.
    let connections = (world.server.connection().await, world.server.connection().await);
    let both = async { tokio::join!(ask("me", connections.0), ask("you", connections.1)) };
    let (mine, yours) = wait::within("all are taken", LONG, both).await;
    assert!(!mine.is_empty() && !yours.is_empty(), "{} and {}", mine.len(), yours.len());
    let all: BTreeSet<&String> = mine.iter().chain(&yours).collect();
    assert_eq!((all.len(), mine.len() + yours.len()), (200, 200));
}

#[tokio::test]
async fn replays_come_from_the_dead_letters() {
    let mut world = World::start().await;
    world.give("1-0", DELAYED, DAY, 1).await;
    world.give_replay("1-0", DELAYED, DAY, 0).await;
    let claimed = world.call_replays(claim("me", DELAYED, "8")).await;
    assert_eq!(claimed, json!([["1-0", 1, ["type", "t", "dlq.id", "7-0"]]]));
    assert_eq!(world.replays().await, [state("1-0", "me", 1)]);
    assert_eq!(world.pending().await, [state("1-0", DELAYED, 1)]);
}

/// Adds a due dead letter with this `dlq.raw`. Returns the fields with which it is claimed.
async fn claim_raw(world: &mut World, raw: &[u8]) -> serde_json::Value {
    let mut add = redis::cmd("XADD");
    let add = add.arg("s").arg("9-0").arg("dlq.raw").arg(raw).arg("dlq.id").arg("7-0");
    add.exec_async(&mut world.conn).await.unwrap();
    world.run(&["XCLAIM", "s", "g", DELAYED, "0", "9-0", "IDLE", "86400000", "FORCE"]).await;
    world.call(claim("me", DELAYED, "1")).await[0][2].clone()
}

#[tokio::test]
async fn fields_that_were_packed_in_one_are_unpacked_and_come_first() {
    let mut world = World::start().await;
    // MessagePack: an array of four texts.
    let raw = b"\x94\xa4type\xa1t\xa1x\xa1y";
    let fields = claim_raw(&mut world, raw).await;
    assert_eq!(fields.as_array().unwrap()[..4], ["type", "t", "x", "y"]);
    assert_eq!(fields.as_array().unwrap()[6..], ["dlq.id", "7-0"]);
}

#[tokio::test]
async fn a_packed_field_that_holds_no_fields_is_delivered_unchanged() {
    // A number, nothing, a cut-off map; then one name without a value, two numbers, an array in an array.
    for raw in ["\u{1}", "", "\u{81}", "no MessagePack"] {
        let mut world = World::start().await;
        let fields = claim_raw(&mut world, raw.as_bytes()).await;
        assert_eq!(fields, json!(["dlq.raw", raw, "dlq.id", "7-0"]), "{raw:?}");
    }
    for raw in [b"\x91\xa1t".as_slice(), b"\x92\x01\x02", b"\x92\xa1t\x90"] {
        let mut world = World::start().await;
        let fields = claim_raw(&mut world, raw).await;
        assert_eq!(fields.as_array().unwrap().len(), 4, "{raw:?}");
    }
}

#[tokio::test]
async fn with_nothing_waiting_nothing_is_claimed() {
    let mut world = World::start().await;
    world.give("1-0", "other", DAY, 1).await;
    assert_eq!(world.call(claim("me", DELAYED, "8")).await, json!([]));
}

#[tokio::test]
async fn a_missing_group_and_a_key_of_another_type_are_errors() {
    let mut world = World::start().await;
    let call = claim("me", DELAYED, "8").with("source", "{s}:dlq:g");
    let error = world.try_call(call.clone()).await.unwrap_err();
    assert_eq!(error.code(), Some("NOGROUP"));
    world.run(&["SET", "{s}:dlq:g", "x"]).await;
    let error = world.try_call(call).await.unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
}
