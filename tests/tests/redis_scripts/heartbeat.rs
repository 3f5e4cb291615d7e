//! heartbeat.lua: leases are renewed, and what waits is reported.

use serde_json::json;

use super::world::{DAY, DELAYED, Heartbeat, Report, SUSPECT, World, is_about, state};

#[tokio::test]
async fn the_lease_of_an_own_entry_is_renewed_and_no_attempt_is_counted() {
    let mut world = World::start().await;
    world.give("1-0", "me", 20_000, 3).await;
    let report = world.heartbeat(Heartbeat { of_stream: &["1-0"], ..Heartbeat::default() }).await;
    assert_eq!(report, Report::default());
    assert_eq!(world.pending().await, [state("1-0", "me", 3)]);
    assert!(is_about(world.idle("1-0").await, 0));
}

#[tokio::test]
async fn what_is_not_asked_about_keeps_its_age() {
    let mut world = World::start().await;
    world.give("1-0", "me", 20_000, 1).await;
    world.give("2-0", "me", 20_000, 1).await;
    world.heartbeat(Heartbeat { of_stream: &["2-0"], ..Heartbeat::default() }).await;
    assert!(is_about(world.idle("1-0").await, 20_000));
}

#[tokio::test]
async fn entries_that_others_hold_are_reported_and_not_claimed_back() {
    let mut world = World::start().await;
    for (id, owner) in [("1-0", "other"), ("2-0", "me"), ("3-0", DELAYED), ("4-0", SUSPECT)] {
        world.give(id, owner, 20_000, 2).await;
    }
    let of_stream = ["1-0", "2-0", "3-0", "4-0"];
    let report = world.heartbeat(Heartbeat { of_stream: &of_stream, ..Heartbeat::default() }).await;
    assert_eq!(report.lost, ["1-0", "3-0", "4-0"]);
    let owners = world.pending().await.into_iter().map(|(_, owner, _)| owner);
    assert_eq!(owners.collect::<Vec<_>>(), ["other", "me", DELAYED, SUSPECT]);
    assert!(is_about(world.idle("1-0").await, 20_000));
}

#[tokio::test]
async fn an_entry_that_is_not_pending_is_not_reported_as_lost_and_stays_so() {
    let mut world = World::start().await;
    world.add("1-0").await;
    world.give("2-0", "me", 0, 1).await;
    world.run(&["XDEL", "s", "2-0"]).await;
    for _ in 0..2 {
        let of_stream = ["1-0", "2-0", "9-0"];
        let report =
            world.heartbeat(Heartbeat { of_stream: &of_stream, ..Heartbeat::default() }).await;
        assert_eq!(report, Report::default());
    }
    assert_eq!(world.pending().await, []);
}

#[tokio::test]
async fn replays_are_renewed_and_reported_apart_from_the_streams_entries() {
    let mut world = World::start().await;
    world.give("1-0", "me", 20_000, 1).await;
    world.give("2-0", "other", 20_000, 1).await;
    world.give_replay("1-0", "other", 20_000, 1).await;
    world.give_replay("2-0", "me", 20_000, 1).await;
    let ids = ["1-0", "2-0"];
    let report =
        world.heartbeat(Heartbeat { of_stream: &ids, replays: &ids, ..Heartbeat::default() }).await;
    let (lost, lost_replays) = (vec!["2-0".to_owned()], vec!["1-0".to_owned()]);
    assert_eq!(report, Report { lost, lost_replays, ..Report::default() });
    assert!(is_about(world.idle("1-0").await, 0));
    assert!(is_about(world.replay_idle("2-0").await, 0));
    assert_eq!(world.replays().await, [state("1-0", "other", 1), state("2-0", "me", 1)]);
}

#[tokio::test]
async fn ten_thousand_in_flight_are_renewed_at_once() {
    let mut world = World::start().await;
    let ids: Vec<String> = (1..=10_000).map(|n| format!("{n}-0")).collect();
    let mut batch = redis::pipe();
    for id in &ids {
        batch.cmd("XADD").arg("s").arg(id).arg("f").arg("v").ignore();
        let owner = if id == "1001-0" { "other" } else { "me" };
        let claim = batch.cmd("XCLAIM").arg("s").arg("g").arg(owner).arg(0).arg(id);
        claim.arg("IDLE").arg(60_000).arg("FORCE").arg("JUSTID").ignore();
    }
    batch.query_async::<()>(&mut world.conn).await.unwrap();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let report = world.heartbeat(Heartbeat { of_stream: &ids, ..Heartbeat::default() }).await;
    assert_eq!(report.lost, ["1001-0"]);
    let old = world.run(&["XPENDING", "s", "g", "IDLE", "60000", "-", "+", "9", "me"]).await;
    assert_eq!(old, json!([]));
}

#[tokio::test]
async fn a_suspect_is_reported_once_it_is_due_and_for_its_own_stream_only() {
    let mut world = World::start().await;
    world.give("1-0", SUSPECT, DAY - 60_000, 1).await;
    world.give_replay("1-0", SUSPECT, DAY - 60_000, 1).await;
    let report = world.heartbeat(Heartbeat::default()).await;
    assert_eq!((report.due, report.due_replays), (0, 0));
    world.give_replay("2-0", SUSPECT, DAY, 1).await;
    let report = world.heartbeat(Heartbeat::default()).await;
    assert_eq!((report.due, report.due_replays), (0, 1));
    world.give("2-0", SUSPECT, DAY, 1).await;
    world.give("3-0", SUSPECT, DAY, 1).await;
    let report = world.heartbeat(Heartbeat::default()).await;
    assert_eq!((report.due, report.due_replays), (1, 1));
}

#[tokio::test]
async fn what_is_delayed_is_counted_due_or_not_apart_from_the_replays() {
    let mut world = World::start().await;
    for (id, owner) in [("1-0", DELAYED), ("2-0", DELAYED), ("3-0", SUSPECT), ("4-0", "other")] {
        world.give(id, owner, 0, 1).await;
    }
    world.give_replay("1-0", DELAYED, DAY, 0).await;
    let report = world.heartbeat(Heartbeat::default()).await;
    assert_eq!((report.delayed, report.replays), (2, 1));
    assert_eq!((report.due, report.due_replays), (0, 0), "what is due there is no suspect");
}

#[tokio::test]
async fn without_replays_or_with_dead_letters_of_another_type_the_heartbeat_goes_on() {
    let mut world = World::start().await;
    world.give("1-0", "me", 20_000, 1).await;
    let heartbeat = Heartbeat {
        of_stream: &["1-0"],
        replays: &["2-0"],
        search: (true, true),
        ..Heartbeat::default()
    };
    assert_eq!(world.heartbeat(heartbeat).await, Report::default(), "no dead letters");
    world.run(&["XADD", "{s}:dlq:g", "*", "f", "v"]).await;
    assert_eq!(world.heartbeat(heartbeat).await, Report::default(), "no group");
    world.run(&["DEL", "{s}:dlq:g"]).await;
    world.run(&["SET", "{s}:dlq:g", "x"]).await;
    assert_eq!(world.heartbeat(heartbeat).await, Report::default(), "another type");
    assert!(is_about(world.idle("1-0").await, 0));
}

#[tokio::test]
async fn a_missing_group_and_a_stream_of_another_type_are_errors() {
    let mut world = World::start().await;
    world.run(&["XGROUP", "DESTROY", "s", "g"]).await;
    for of_stream in [[].as_slice(), &["1-0"]] {
        let error =
            world.try_heartbeat(Heartbeat { of_stream, ..Heartbeat::default() }).await.unwrap_err();
        assert_eq!(error.code(), Some("NOGROUP"));
    }
    world.run(&["DEL", "s"]).await;
    let error = world.try_heartbeat(Heartbeat::default()).await.unwrap_err();
    assert_eq!(error.code(), Some("NOGROUP"));
    world.run(&["SET", "s", "x"]).await;
    let error = world.try_heartbeat(Heartbeat::default()).await.unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));
    assert_eq!(world.run(&["EXISTS", "{s}:eventbus:consumers:g"]).await, json!(0));
}
