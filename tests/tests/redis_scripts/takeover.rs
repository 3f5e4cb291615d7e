//! heartbeat.lua: the entries of consumers that vanished, and own entries whose reply was lost.

use super::world::{
    DAY, DELAYED, FOREIGN_LEASE, Heartbeat, LEASE, Report, SUSPECT, World, is_about, state,
};

const SEARCH: Heartbeat<'_> = Heartbeat {
    me: "me",
    search: (true, true),
    of_stream: &[],
    replays: &[],
    state: r#"{"v":1,"lease":30000}"#,
};

/// Field of a consumer with the same lease.
const REPORTED: &str = r#"{"lease":30000}"#;

/// How much younger than its owner's lease an entry is here.
const YOUNGER: u64 = 20_000;

/// A group in which `gone` has reported this about itself, with one entry that idles for so long.
async fn with(reported: &str, idle: u64) -> World {
    let mut world = World::start().await;
    world.set_field("c:gone", reported).await;
    world.give("1-0", "gone", idle, 1).await;
    world
}

async fn is_claimed_from(mut world: World) -> bool {
    let report = world.heartbeat(SEARCH).await;
    let owner = world.pending().await[0].1.clone();
    assert_eq!(report.moved == 1, owner == SUSPECT);
    owner == SUSPECT
}

#[tokio::test]
async fn entries_of_a_vanished_consumer_are_suspects_due_after_one_backoff() {
    let mut world = with(r#"{"lease":1000}"#, LEASE).await;
    world.give("2-0", "gone", LEASE, 3).await;
    let report = world.heartbeat(SEARCH).await;
    assert_eq!(report, Report { moved: 2, ..Report::default() });
    assert_eq!(world.pending().await, [state("1-0", SUSPECT, 1), state("2-0", SUSPECT, 3)]);
    assert!(is_about(world.idle("1-0").await, DAY - 60_000));
    assert!(is_about(world.idle("2-0").await, DAY - 240_000));
}

#[tokio::test]
async fn the_backoff_of_a_suspect_has_the_same_end_as_any() {
    let mut world = with(REPORTED, LEASE).await;
    world.give("2-0", "gone", LEASE, 500).await;
    world.give("3-0", "gone", LEASE, 0).await;
    world.heartbeat(SEARCH).await;
    assert!(is_about(world.idle("2-0").await, DAY - 3_600_000));
    assert!(is_about(world.idle("3-0").await, DAY - 60_000), "no attempt counts as one");
}

#[tokio::test]
async fn the_larger_of_the_owners_and_the_callers_lease_counts() {
    let longer = r#"{"lease":60000}"#;
    assert!(!is_claimed_from(with(longer, 60_000 - YOUNGER).await).await);
    assert!(is_claimed_from(with(longer, 60_000).await).await);
    let shorter = r#"{"lease":1000}"#;
    assert!(!is_claimed_from(with(shorter, LEASE - YOUNGER).await).await);
    assert!(is_claimed_from(with(shorter, LEASE).await).await);
}

#[tokio::test]
async fn from_a_consumer_that_never_reported_its_lease_nothing_is_claimed_before_long() {
    for (idle, is_claimed) in [(FOREIGN_LEASE - YOUNGER, false), (FOREIGN_LEASE, true)] {
        let mut world = World::start().await;
        world.give("1-0", "stranger", idle, 1).await;
        assert_eq!(is_claimed_from(world).await, is_claimed, "{idle}");
    }
}

#[tokio::test]
async fn if_leases_cannot_be_read_the_longest_one_is_assumed() {
    for (idle, is_claimed) in [(3_600_000 - YOUNGER, false), (3_600_000, true)] {
        let mut world = World::start().await;
        world.run(&["SET", "{s}:eventbus:consumers:g", "x"]).await;
        world.give("1-0", "other", idle, 1).await;
        assert_eq!(is_claimed_from(world).await, is_claimed, "{idle}");
    }
}

#[tokio::test]
async fn what_an_owner_reported_that_makes_no_sense_is_no_lease() {
    let nonsense =
        ["", "{broken", "null", "7", "[]", "{}", r#"{"lease":null}"#, r#"{"lease":"soon"}"#];
    for reported in nonsense {
        assert!(
            !is_claimed_from(with(reported, FOREIGN_LEASE - YOUNGER).await).await,
            "{reported}"
        );
        assert!(is_claimed_from(with(reported, FOREIGN_LEASE).await).await, "{reported}");
    }
}

#[tokio::test]
async fn a_lease_out_of_range_counts_as_the_nearest_one_in_range() {
    for (reported, lease) in [
        ("-1", LEASE),
        ("NaN", LEASE),
        ("60000.5", 60_000),
        ("86400000", 3_600_000),
        ("1e999", 3_600_000),
    ] {
        let reported = format!(r#"{{"lease":{reported}}}"#);
        assert!(!is_claimed_from(with(&reported, lease - YOUNGER).await).await, "{reported}");
        assert!(is_claimed_from(with(&reported, lease).await).await, "{reported}");
    }
}

#[tokio::test]
async fn each_owner_is_judged_by_its_own_lease() {
    let mut world = with(r#"{"lease":60000}"#, LEASE).await;
    world.set_field("c:other", r#"{"lease":30000}"#).await;
    world.give("2-0", "other", LEASE, 1).await;
    world.give("3-0", "gone", 60_000, 1).await;
    assert_eq!(world.heartbeat(SEARCH).await.moved, 2);
    let expected = [state("1-0", "gone", 1), state("2-0", SUSPECT, 1), state("3-0", SUSPECT, 1)];
    assert_eq!(world.pending().await, expected);
}

#[tokio::test]
async fn own_entries_the_caller_does_not_know_are_due_for_any_consumer_and_no_attempt_is_counted() {
    let mut world = World::start().await;
    world.give("1-0", "me", LEASE, 3).await;
    world.give("2-0", "me", LEASE, 0).await;
    world.give("3-0", "me", LEASE - YOUNGER, 1).await;
    world.give("4-0", "me", LEASE, 1).await;
    let report = world.heartbeat(Heartbeat { of_stream: &["4-0"], ..SEARCH }).await;
    assert_eq!((report.lost, report.moved), (vec![], 0));
    let pending = world.pending().await;
    assert_eq!(pending[..2], [state("1-0", DELAYED, 2), state("2-0", DELAYED, 0)]);
    assert_eq!(pending[2..], [state("3-0", "me", 1), state("4-0", "me", 1)]);
    assert!(is_about(world.idle("1-0").await, DAY));
}

#[tokio::test]
async fn the_callers_own_entries_are_judged_by_its_present_lease() {
    let mut world = World::start().await;
    world.set_field("c:me", r#"{"lease":600000}"#).await;
    world.give("1-0", "me", LEASE, 1).await;
    world.heartbeat(SEARCH).await;
    assert_eq!(world.pending().await, [state("1-0", DELAYED, 0)]);
}

#[tokio::test]
async fn delayed_entries_and_suspects_are_never_taken_over() {
    let mut world = World::start().await;
    world.give("1-0", DELAYED, DAY, 1).await;
    world.give("2-0", SUSPECT, DAY, 2).await;
    let report = world.heartbeat(SEARCH).await;
    assert_eq!(report, Report { delayed: 1, due: 1, ..Report::default() });
    assert_eq!(world.pending().await, [state("1-0", DELAYED, 1), state("2-0", SUSPECT, 2)]);
    assert!(is_about(world.idle("1-0").await, DAY));
}

#[tokio::test]
async fn each_stream_is_searched_only_if_asked_for() {
    for search in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = with(REPORTED, LEASE).await;
        world.give_replay("1-0", "gone", LEASE, 1).await;
        world.give("2-0", "me", LEASE, 1).await;
        let moved = u64::from(search.0) + u64::from(search.1);
        assert_eq!(
            world.heartbeat(Heartbeat { search, ..SEARCH }).await.moved,
            moved,
            "{search:?}"
        );
        assert_eq!(world.pending().await[0].1 == SUSPECT, search.0, "{search:?}");
        assert_eq!(world.pending().await[1].1 == DELAYED, search.0, "{search:?}");
        assert_eq!(world.replays().await[0].1 == SUSPECT, search.1, "{search:?}");
    }
}

#[tokio::test]
async fn a_replay_of_a_vanished_consumer_is_suspect_among_the_dead_letters() {
    let mut world = World::start().await;
    world.set_field("c:gone", REPORTED).await;
    world.give_replay("1-0", "gone", LEASE, 2).await;
    world.give_replay("2-0", "me", LEASE, 2).await;
    world.heartbeat(SEARCH).await;
    assert_eq!(world.replays().await, [state("1-0", SUSPECT, 2), state("2-0", DELAYED, 1)]);
    assert!(is_about(world.replay_idle("1-0").await, DAY - 120_000));
}

#[tokio::test]
async fn of_very_many_abandoned_entries_a_batch_is_taken_over_at_each_search() {
    let mut world = World::start().await;
    world.set_field("c:gone", REPORTED).await;
    for n in 1..=300 {
        world.give(&format!("{n}-0"), "gone", LEASE, 1).await;
    }
    assert_eq!(world.heartbeat(SEARCH).await.moved, 256);
    world.set_field("swept", "0").await;
    assert_eq!(world.heartbeat(SEARCH).await.moved, 44);
}

#[tokio::test]
async fn an_entry_that_was_trimmed_meanwhile_is_pending_no_more() {
    let mut world = with(REPORTED, LEASE).await;
    world.give("2-0", "me", LEASE, 1).await;
    world.run(&["XDEL", "s", "1-0", "2-0"]).await;
    world.heartbeat(SEARCH).await;
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn after_a_search_no_consumer_searches_for_a_third_of_a_lease() {
    let mut world = with(REPORTED, LEASE).await;
    let other = Heartbeat { me: "other", ..SEARCH };
    assert_eq!(world.heartbeat(other).await.moved, 1);
    world.give("2-0", "gone", LEASE, 1).await;
    assert_eq!(world.heartbeat(SEARCH).await.moved, 0);
    let before = world.now().await - LEASE / 3;
    world.set_field("swept", &before.to_string()).await;
    assert_eq!(world.heartbeat(SEARCH).await.moved, 1);
    let searched_at: u64 = world.field("swept").await.as_str().unwrap().parse().unwrap();
    assert!(is_about(searched_at, before + LEASE / 3), "{searched_at}");
}

#[tokio::test]
async fn a_heartbeat_that_does_not_search_does_not_stop_others_from_searching() {
    let mut world = with(REPORTED, LEASE).await;
    world.heartbeat(Heartbeat { search: (false, false), ..SEARCH }).await;
    assert_eq!(world.field("swept").await, serde_json::Value::Null);
    let searched_at = world.now().await - 1;
    world.set_field("swept", &searched_at.to_string()).await;
    world.heartbeat(SEARCH).await;
    assert_eq!(world.field("swept").await, searched_at.to_string(), "it was not its turn");
}

#[tokio::test]
async fn the_time_of_the_last_search_may_be_unreadable_or_in_the_future() {
    for searched_at in ["soon", "", "nan", "9999999999999"] {
        let mut world = with(REPORTED, LEASE).await;
        world.set_field("swept", searched_at).await;
        assert_eq!(world.heartbeat(SEARCH).await.moved, 1, "{searched_at}");
    }
}

#[tokio::test]
async fn an_entry_that_was_trimmed_before_it_was_taken_over_is_reported_as_trimmed() {
    let mut world = World::start().await;
    world.set_field("c:other", REPORTED).await;
    world.give("1-0", "other", 700_000, 1).await;
    world.give("2-0", "other", 700_000, 1).await;
    world.give("3-0", "me", 700_000, 1).await;
    world.run(&["XDEL", "s", "1-0", "3-0"]).await;
    let report = world.heartbeat(Heartbeat { search: (true, false), ..Heartbeat::default() }).await;
    assert_eq!((report.moved, report.trimmed), (1, 2));
    assert_eq!(world.pending().await, [state("2-0", SUSPECT, 1)]);
}
