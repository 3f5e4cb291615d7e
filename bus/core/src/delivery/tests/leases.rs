//! Entries in flight, and their leases.

use std::time::Duration;

use crate::delivery::Source;

use super::{
    HeartbeatReport, Input, Moment, Output, Pool, RANDOM, Story, WriteResult, ack, at, claimed,
    delay, delayed, done, entry, heartbeat_of, of_stream, retry, started,
};

fn seconds(number: u64) -> Option<Duration> {
    Some(Duration::from_secs(number))
}

fn cancel(ms: u64) -> Output {
    Output::Cancel(of_stream(ms))
}

#[test]
fn a_lease_counts_from_when_the_command_was_sent() {
    let mut story = Story::reading(1, 1);
    story.now = at(Duration::from_millis(500));
    story.on(Input::Read { sent: Moment::START, entries: vec![entry(1)] });
    assert!(!story.after(29).contains(&cancel(1)));
    story.now = at(Duration::from_secs(30));
    assert!(story.on(Input::Tick).contains(&cancel(1)));
}

#[test]
fn a_call_past_its_lease_is_cut_off_once_and_forgotten() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    assert!(story.after(30).contains(&cancel(1)));
    assert!(!story.after(1).contains(&cancel(1)));
    assert_eq!(story.machine.counts().in_flight, 0);
}

/// The one worker has retry 3; new entry 2 waits since second 1.
fn retry_before_new() -> Story {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1)]);
    story.now += Duration::from_secs(1);
    story.read(vec![entry(2)]);
    let outputs = story.on(done(1));
    assert_eq!(started(&outputs), [], "the worker is the retry's: {outputs:?}");
    story.now = at(Duration::from_secs(8));
    let outputs = story.claimed(Pool::Delayed, vec![claimed(3, 2)]);
    assert_eq!(started(&outputs), [(3, 2)]);
    story
}

#[test]
fn a_worker_that_a_claim_was_sent_for_begins_the_retry_and_no_new_event() {
    retry_before_new();
}

#[test]
fn an_event_that_waited_past_its_lease_is_not_begun() {
    let mut story = retry_before_new();
    story.after(22);
    assert_eq!(story.due_at(), seconds(31), "its lease ends first");
    story.after(1);
    story.on(done(3));
    assert_eq!(started(&story.claimed(Pool::Delayed, vec![])), []);
    assert_eq!(story.machine.counts().in_flight, 2, "1 and 3 are being acknowledged");
}

#[test]
fn of_many_leases_the_first_to_end_is_due() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1)]);
    story.now += Duration::from_secs(5);
    story.read(vec![entry(2)]);
    story.after(5);
    assert_eq!(story.due_at(), seconds(30));
}

#[test]
fn what_waits_for_a_worker_is_renewed_as_well() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1), entry(2)]);
    let (ids, _) = heartbeat_of(&story.after(10)).unwrap();
    assert_eq!(ids, [of_stream(1), of_stream(2)]);
}

#[test]
fn what_is_settled_but_not_answered_yet_is_not_renewed() {
    let mut story = Story::reading(3, 3);
    story.read(vec![entry(1), entry(2), entry(3)]);
    story.on(retry(1));
    story.on(done(2));
    let (ids, _) = heartbeat_of(&story.after(10)).unwrap();
    assert_eq!(ids, [of_stream(3)]);
}

#[test]
fn a_heartbeat_renews_from_when_it_was_sent() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.after(10);
    let sent = story.now;
    story.now += Duration::from_secs(5);
    story.on(Input::Heartbeat { sent, report: HeartbeatReport::default() });
    story.after(10);
    assert!(!story.after(14).contains(&cancel(1)));
    assert!(story.after(1).contains(&cancel(1)));
}

/// Entry 1 was in flight when a heartbeat was sent at second 10, went, and came back with a claim sent at second 11.
fn back_since() -> Story {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.after(10);
    story.on(retry(1));
    story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)]));
    story.now += Duration::from_secs(1);
    assert_eq!(started(&story.claimed(Pool::Delayed, vec![claimed(1, 2)])), [(1, 2)]);
    story
}

#[test]
fn a_heartbeat_does_not_drop_an_entry_that_came_back_since() {
    let mut story = back_since();
    let report = HeartbeatReport { lost: vec![of_stream(1)], ..HeartbeatReport::default() };
    let sent = at(Duration::from_secs(10));
    let outputs = story.on(Input::Heartbeat { sent, report });
    assert!(!outputs.contains(&cancel(1)), "{outputs:?}");
    assert_eq!(story.machine.counts().in_flight, 1);
}

#[test]
fn a_heartbeat_does_not_shorten_the_lease_of_an_entry_that_came_back_since() {
    let mut story = back_since();
    let sent = at(Duration::from_secs(10));
    story.on(Input::Heartbeat { sent, report: HeartbeatReport::default() });
    story.after(19);
    assert!(!story.after(10).contains(&cancel(1)));
    assert!(story.after(1).contains(&cancel(1)));
}

#[test]
fn heartbeats_come_within_a_third_of_the_lease_and_not_in_step() {
    for (random, milliseconds) in [(0.0, 8_000), (1.0, 10_000)] {
        let mut story = Story::new(1, 1);
        story.on(Input::Connected);
        let heartbeat_answered =
            Input::Heartbeat { sent: story.now, report: HeartbeatReport::default() };
        story.machine.on(heartbeat_answered, story.now, random);
        let due = story.due_at();
        assert_eq!(due, Some(Duration::from_millis(milliseconds)));
        let due = at(Duration::from_millis(milliseconds));
        let outputs = story.machine.on(Input::Tick, due, RANDOM);
        assert!(heartbeat_of(&outputs).is_some(), "{outputs:?}");
        let again = story.machine.on(Input::Tick, due, RANDOM);
        assert_eq!(heartbeat_of(&again), None, "one at a time");
    }
}

#[test]
fn an_entry_that_comes_again_keeps_its_call_under_the_new_lease_and_the_higher_attempt() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    story.claimed(Pool::Delayed, vec![claimed(1, 3)]);
    story.on(Input::NoGroup { reading: false });
    story.after(4);
    story.on(Input::Connected);
    story.heartbeat_answered(HeartbeatReport::default());
    story.claimed(Pool::Delayed, vec![]);
    assert_eq!(started(&story.read(vec![entry(1)])), []);
    assert!(!story.after(29).contains(&cancel(1)), "the first lease was over at 31");
    assert_eq!(story.on(retry(1))[0], delay(delayed(1, 3, 9)));
}

#[test]
fn a_call_whose_entry_is_not_pending_any_more_may_run_as_long_as_it_likes() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(Input::NoGroup { reading: false });
    assert_eq!(story.due_at(), None);
    assert_eq!(story.after(31), []);
    assert_eq!(
        heartbeat_of(&story.on(Input::Connected)),
        Some((vec![], vec![])),
        "nothing to renew"
    );
    assert_eq!(
        story.heartbeat_answered(HeartbeatReport::default()),
        [Output::Read { count: 1 }],
        "no worker"
    );
    assert_eq!(started(&story.read(vec![entry(2)])), [], "no worker");
    assert_eq!(started(&story.on(done(1))), []);
    assert_eq!(started(&story.claimed(Pool::Delayed, vec![])), [(2, 1)]);
}

#[test]
fn retries_that_wait_to_be_replayed_are_leased_alike() {
    let mut story = Story::reading(1, 1);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    story.heartbeat_answered(HeartbeatReport { replays: 1, ..HeartbeatReport::default() });
    let (source, pool) = (Source::DeadLetters, Pool::Delayed);
    let entries = vec![claimed(1, 1)];
    story.on(Input::Claimed { sent: story.now, source, pool, entries });
    let (ids, _) = heartbeat_of(&story.after(9)).unwrap();
    assert_eq!(ids.iter().map(|entry| entry.source).collect::<Vec<_>>(), [source]);
    assert!(!story.on(done(1)).contains(&ack(&[1])), "another entry of the same ID");
}
