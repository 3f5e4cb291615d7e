//! Without free memory consumers go on; a write that needs memory is refused whole.

use serde_json::{Value, json};

use super::call::{acknowledge, claim, dead_letter, delay};
use super::world::{DAY, DELAYED, Heartbeat, LEASE, Report, SUSPECT, World, is_about, state};

impl World {
    /// From now on the server takes nothing that needs memory.
    async fn is_full(&mut self) {
        self.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
        let add = self.try_run(&["XADD", "s", "*", "f", "v"]).await;
        assert_eq!(add.unwrap_err().code(), Some("OOM"));
    }
}

#[tokio::test]
async fn leases_are_renewed_and_a_heartbeat_without_entries_reports_what_waits() {
    let mut world = World::start().await;
    world.give("1-0", "me", 20_000, 1).await;
    world.give("2-0", DELAYED, 0, 1).await;
    world.is_full().await;
    let expected = Report { delayed: 1, ..Report::default() };
    assert_eq!(
        world.heartbeat(Heartbeat { of_stream: &["1-0"], ..Heartbeat::default() }).await,
        expected
    );
    assert!(is_about(world.idle("1-0").await, 0));
    let looking = Heartbeat { me: "other", search: (true, true), ..Heartbeat::default() };
    assert_eq!(world.heartbeat(looking).await, expected);
    assert_eq!(world.field("c:other").await, Value::Null, "the hash could not be written");
}

#[tokio::test]
async fn entries_of_a_vanished_consumer_are_claimed_over() {
    let mut world = World::start().await;
    world.set_field("c:gone", r#"{"lease":30000}"#).await;
    world.give("1-0", "gone", LEASE, 1).await;
    world.is_full().await;
    assert_eq!(
        world.heartbeat(Heartbeat { search: (true, true), ..Heartbeat::default() }).await.moved,
        1
    );
    assert_eq!(world.pending().await, [state("1-0", SUSPECT, 1)]);
}

#[tokio::test]
async fn a_dead_letter_is_refused_and_its_entry_stays_pending() {
    let mut world = World::start().await;
    world.give("1-0", "me", 5_000, 5).await;
    world.is_full().await;
    let error = world.try_dead_letter("1-0", &["dlq.reason", "exhausted"]).await.unwrap_err();
    assert_eq!(error.code(), Some("OOM"));
    assert_eq!(world.pending().await, [state("1-0", "me", 5)]);
    assert!(is_about(world.idle("1-0").await, 5_000));
    assert_eq!(world.run(&["EXISTS", "{s}:dlq:g"]).await, json!(0));
}

#[tokio::test]
async fn a_replay_that_fails_is_refused_and_the_old_dead_letter_stays() {
    let mut world = World::start().await;
    world.give_replay("1-0", "me", 0, 5).await;
    world.is_full().await;
    let call = dead_letter("1-0", "1000", &["dlq.reason", "exhausted"]);
    let error = world.try_call(call.with("source", "{s}:dlq:g")).await.unwrap_err();
    assert_eq!(error.code(), Some("OOM"));
    assert_eq!(world.replays().await, [state("1-0", "me", 5)]);
    assert_eq!(world.letters().await, [json!(["type", "t", "dlq.id", "7-0"])]);
}

#[tokio::test]
async fn entries_are_acknowledged_delayed_and_claimed() {
    let mut world = World::start().await;
    for (id, owner) in [("1-0", "me"), ("2-0", "me"), ("3-0", DELAYED)] {
        world.give(id, owner, DAY, 1).await;
    }
    world.is_full().await;
    assert_eq!(world.call(acknowledge("me", "0", &["1-0"])).await, json!(1));
    assert_eq!(world.call(delay("me", DELAYED, &["2-0", "1", "0"])).await, json!([1]));
    let claimed = world.call(claim("new", DELAYED, "8")).await;
    assert_eq!((&claimed[0][0], &claimed[1][0]), (&json!("2-0"), &json!("3-0")));
    assert_eq!(world.pending().await, [state("2-0", "new", 2), state("3-0", "new", 2)]);
}

#[tokio::test]
async fn events_are_handled_in_order_and_a_consumer_leaves() {
    let mut world = World::start().await;
    world.add("1-0").await;
    world.is_full().await;
    let reply = world.try_next("me", "").await.unwrap();
    assert_eq!((&reply[1], &reply[3]), (&json!("entry"), &json!("1-0")));
    let reply = world.try_next("me", "1-0").await.unwrap();
    assert_eq!(reply, json!([1, "empty", "1-0"]));
    assert_eq!(world.try_leave(&["received", "1"]).await.unwrap(), json!(1));
    assert_eq!(world.consumers("s").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_replay_is_refused_and_nothing_waits_for_one() {
    let mut world = World::start().await;
    world.run(&["XADD", "{s}:dlq:g", "1-0", "type", "t"]).await;
    world.is_full().await;
    assert_eq!(world.try_replay("1-0").await.unwrap_err().code(), Some("OOM"));
    assert_eq!(world.run(&["XINFO", "GROUPS", "{s}:dlq:g"]).await, json!([]));
}
