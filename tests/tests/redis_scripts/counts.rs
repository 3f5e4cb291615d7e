//! Counts that other programs wrote: delivery counts, and fields of the consumers' hash.

use serde_json::json;

use super::call::claim;
use super::world::{DAY, DELAYED, FOREIGN_LEASE, Heartbeat, LEASE, SUSPECT, World, state};

const SEARCH: Heartbeat<'_> = Heartbeat {
    me: "me",
    search: (true, true),
    of_stream: &[],
    replays: &[],
    state: r#"{"v":1,"lease":30000}"#,
};

/// An hour, the longest lease there is.
const HOUR: u64 = 3_600_000;

/// Counts of which the scripts can send none back as they got it; the last one overflows.
const HUGE: [u64; 4] = [1 << 53, 100_000_000_000_000_001, i64::MAX as u64 - 1, i64::MAX as u64];

impl World {
    /// As [`World::give`], and claims it once more under the same name.
    async fn give_once_more(&mut self, id: &str, owner: &str, idle: u64, attempts: u64) {
        self.give(id, owner, idle, attempts).await;
        let idle = idle.to_string();
        self.run(&["XCLAIM", "s", "g", owner, "0", id, "IDLE", &idle]).await;
    }

    /// The attempt under which the next entry in order is delivered.
    async fn next_attempt(&mut self) -> serde_json::Value {
        self.try_next("me", "").await.unwrap()[4].clone()
    }
}

#[tokio::test]
async fn case_06_an_entry_of_a_consumer_without_a_heartbeat_has_no_attempts() {
    let mut world = World::start().await;
    world.give("1-0", "old", FOREIGN_LEASE, 6).await;
    world.give_replay("1-0", "old", FOREIGN_LEASE, 6).await;
    assert_eq!(world.heartbeat(SEARCH).await.moved, 2);
    assert_eq!(world.pending().await, [state("1-0", SUSPECT, 0)]);
    assert_eq!(world.replays().await, [state("1-0", SUSPECT, 0)]);
    let mut world = World::start().await;
    world.give("1-0", "old", FOREIGN_LEASE, 6).await;
    assert_eq!(world.next_attempt().await, json!(1));
    assert_eq!(world.pending().await, [state("1-0", "me", 1)]);
}

#[tokio::test]
async fn case_06_attempts_of_a_consumer_with_a_heartbeat_stand_whatever_it_says() {
    for field in [r#"{"v":1,"lease":30000}"#, "", "{broken", "null", "7", "[]", r#"{"at":-1}"#] {
        let mut world = World::start().await;
        world.set_field("c:gone", field).await;
        world.give("1-0", "gone", HOUR, 6).await;
        assert_eq!(world.heartbeat(SEARCH).await.moved, 1);
        assert_eq!(world.pending().await, [state("1-0", SUSPECT, 6)], "{field}");
        world.run(&["XCLAIM", "s", "g", "gone", "0", "1-0", "IDLE", "3600000", "JUSTID"]).await;
        assert_eq!(world.next_attempt().await, json!(7), "{field}");
    }
}

#[tokio::test]
async fn case_06_attempts_of_a_consumer_of_ours_that_may_not_write_its_heartbeat_stand() {
    for (name, attempts) in [("pod/00c0ffee", 6), ("a/b/00c0ffee", 6), ("pod/name", 0)] {
        let mut world = World::start().await;
        world.give("1-0", name, FOREIGN_LEASE, 6).await;
        assert_eq!(world.heartbeat(SEARCH).await.moved, 1);
        assert_eq!(world.pending().await, [state("1-0", SUSPECT, attempts)], "{name}");
    }
}

#[tokio::test]
async fn case_06_where_the_heartbeats_cannot_be_read_attempts_stand() {
    let mut world = World::start().await;
    world.run(&["SET", "{s}:eventbus:consumers:g", "x"]).await;
    world.give("1-0", "other", HOUR, 6).await;
    assert_eq!(world.heartbeat(SEARCH).await.moved, 1);
    assert_eq!(world.pending().await, [state("1-0", SUSPECT, 6)]);
    world.run(&["XCLAIM", "s", "g", "other", "0", "1-0", "IDLE", "3600000", "JUSTID"]).await;
    assert_eq!(world.next_attempt().await, json!(7));
}

#[tokio::test]
async fn case_06_a_delivery_count_of_any_size_blocks_no_claim() {
    for pool in [DELAYED, SUSPECT] {
        let mut world = World::start().await;
        for (n, count) in HUGE.into_iter().enumerate() {
            world.give_once_more(&format!("{}-0", n + 1), pool, DAY, count).await;
        }
        world.give("9-0", pool, DAY, 1).await;
        let claimed = world.call(claim("me", pool, "8")).await;
        let attempts: Vec<f64> = (0..5).map(|entry| claimed[entry][1].as_f64().unwrap()).collect();
        let max = 2_f64.powi(53);
        assert_eq!(attempts, [max, max, max, 1.0, 2.0]);
    }
}

#[tokio::test]
async fn case_06_a_delivery_count_of_any_size_blocks_no_heartbeat() {
    let mut world = World::start().await;
    world.set_field("c:gone", r#"{"lease":30000}"#).await;
    for (n, count) in (1..).zip(HUGE) {
        world.give_once_more(&format!("{n}-0"), "gone", LEASE, count).await;
        world.give_once_more(&format!("{n}-1"), "me", LEASE, count).await;
    }
    assert_eq!(world.heartbeat(SEARCH).await.moved, 4);
    let max = (1 << 53) - 1;
    for n in 0..3 {
        let pending = world.pending().await;
        assert_eq!((pending[2 * n].1.as_str(), pending[2 * n].2), (SUSPECT, max));
        assert_eq!((pending[2 * n + 1].1.as_str(), pending[2 * n + 1].2), (SUSPECT, 5));
    }
    assert_eq!(world.pending().await[6..], [state("4-0", SUSPECT, 0), state("4-1", DELAYED, 0)]);
}

#[tokio::test]
async fn case_06_a_delivery_count_of_any_size_stops_no_order() {
    for owner in ["me", "gone", DELAYED, SUSPECT] {
        for count in HUGE {
            let mut world = World::start().await;
            world.set_field("c:gone", r#"{"lease":30000}"#).await;
            world.give_once_more("1-0", owner, DAY, count).await;
            let attempt = world.next_attempt().await.as_f64().unwrap();
            assert!((1.0..=2_f64.powi(53)).contains(&attempt), "{owner} {count}: {attempt}");
        }
    }
}

#[tokio::test]
async fn case_06_an_entry_that_others_claimed_for_the_caller_is_begun_once_at_least() {
    let mut world = World::start().await;
    for (id, attempts) in [("1-0", 5), ("2-0", 6), ("3-0", 7), ("4-0", 1_000)] {
        world.give(id, "me", LEASE, attempts).await;
    }
    world.heartbeat(SEARCH).await;
    let suspects = ["2-0", "3-0", "4-0"].map(|id| state(id, SUSPECT, 5));
    assert_eq!(world.pending().await, [&[state("1-0", DELAYED, 4)], suspects.as_slice()].concat());
}

#[tokio::test]
async fn case_06_sums_that_others_wrote_keep_no_consumer_from_leaving() {
    let odd = [
        (r#"{"received":9223372036854775807}"#, 99_999_999_999_999_u64),
        (r#"{"received":1e999}"#, 3),
        (r#"{"received":"nan","x":[1e999]}"#, 3),
        (r#"{"received":-7}"#, 3),
        (r#"{"received":{"a":[1]}}"#, 3),
        (r#"{"received":4.5}"#, 7),
        ("[4,5]", 3),
    ];
    for (stored, received) in odd {
        let mut world = World::start().await;
        world.set_field("gone", stored).await;
        assert_eq!(world.try_leave(&["received", "3"]).await.unwrap(), json!(1), "{stored}");
        assert_eq!(world.json("gone").await, json!({"v": 1, "received": received}), "{stored}");
    }
}
