//! Reads and claims, and the number of workers.

use std::time::Duration;

use crate::delivery::Source;

use super::{
    HeartbeatReport, Input, Output, Pool, Story, WriteResult, at, claim, claimed, done, entry,
    of_stream, retry, started, suspects,
};

fn reads(outputs: &[Output]) -> Option<usize> {
    outputs.iter().find_map(|output| match output {
        Output::Read { count } => Some(*count),
        _ => None,
    })
}

fn claims(outputs: &[Output]) -> Option<usize> {
    outputs.iter().find_map(|output| match output {
        Output::Claim { count, .. } => Some(*count),
        _ => None,
    })
}

#[test]
fn delayed_entries_are_claimed_every_second() {
    let mut story = Story::reading(2, 2);
    assert_eq!(story.due_at(), Some(Duration::from_secs(1)));
    story.now = at(Duration::from_millis(999));
    assert_eq!(story.on(Input::Tick), []);
    story.now = at(Duration::from_secs(1));
    assert_eq!(story.on(Input::Tick), [claim(Pool::Delayed, 2)]);
    assert_eq!(story.on(Input::Tick), [], "one at a time");
}

#[test]
fn after_a_full_claim_the_next_comes_as_soon_as_there_is_a_worker() {
    let mut story = Story::reading(2, 2);
    story.after(1);
    story.claimed(Pool::Delayed, vec![claimed(1, 2), claimed(2, 2)]);
    assert_eq!(claims(&story.on(done(1))), Some(1));
    story.claimed(Pool::Delayed, vec![]);
    assert_eq!(claims(&story.on(done(2))), None, "that brought less than was asked for");
}

#[test]
fn a_due_claim_without_a_free_worker_needs_no_tick() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    assert_eq!(claims(&story.after(1)), None);
    assert_eq!(story.due_at(), Some(Duration::from_secs(9)), "the heartbeat");
}

#[test]
fn an_outstanding_claim_needs_no_tick() {
    let mut story = Story::reading(2, 2);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    let outputs =
        story.heartbeat_answered(HeartbeatReport { replays: 1, ..HeartbeatReport::default() });
    assert_eq!(claims(&outputs), Some(2));
    assert_eq!(story.due_at(), Some(Duration::from_secs(19)), "the heartbeat");
}

#[test]
fn replays_are_claimed_every_second_too() {
    let mut story = Story::reading(2, 2);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    story.heartbeat_answered(HeartbeatReport { replays: 1, ..HeartbeatReport::default() });
    story.now += Duration::from_millis(500);
    story.read(vec![entry(1), entry(2)]);
    let (source, pool) = (Source::DeadLetters, Pool::Delayed);
    story.on(Input::Claimed { sent: story.now, source, pool, entries: vec![] });
    story.now += Duration::from_millis(500);
    assert_eq!(story.on(Input::Tick), [], "no worker is free");
    assert_eq!(story.due_at(), Some(Duration::from_millis(11_500)));
}

#[test]
fn retries_get_every_worker_that_no_new_event_waits_for() {
    let mut story = Story::reading(4, 4);
    story.read(vec![entry(1)]);
    assert_eq!(claims(&story.after(1)), Some(3));
}

#[test]
fn a_retry_is_begun_before_the_next_one_is_claimed() {
    let mut story = Story::reading(4, 4);
    story.read((1..=4).map(entry).collect());
    story.read((5..=8).map(entry).collect());
    story.after(1);
    story.on(done(1));
    let outputs = story.claimed(Pool::Delayed, vec![claimed(20, 2)]);
    assert_eq!((claims(&outputs), started(&outputs)), (None, vec![(20, 2)]));
}

#[test]
fn retries_that_run_count_towards_their_half_and_those_delayed_again_do_not() {
    let mut story = Story::reading(4, 4);
    story.read((1..=4).map(entry).collect());
    story.read((5..=8).map(entry).collect());
    story.after(1);
    assert_eq!(claims(&story.on(done(1))), Some(1));
    story.claimed(Pool::Delayed, vec![claimed(20, 2)]);
    assert_eq!(claims(&story.on(done(2))), Some(1));
    story.claimed(Pool::Delayed, vec![claimed(21, 2)]);
    let outputs = story.on(done(3));
    assert_eq!((claims(&outputs), started(&outputs)), (None, vec![(5, 1)]));
    let outputs = story.on(retry(20));
    assert_eq!(claims(&outputs), Some(1), "{outputs:?}");
}

#[test]
fn a_single_worker_gets_retries_although_new_events_wait() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1), entry(2)]);
    story.after(1);
    let outputs = story.on(done(1));
    assert_eq!((claims(&outputs), started(&outputs)), (Some(1), vec![]));
}

#[test]
fn what_a_claim_may_return_counts_as_in_flight() {
    let mut story = Story::reading(2, 2);
    assert_eq!(claims(&story.after(1)), Some(2));
    assert_eq!(reads(&story.read(vec![entry(1), entry(2)])), None);
    assert_eq!(reads(&story.claimed(Pool::Delayed, vec![])), Some(2));
}

#[test]
fn while_events_wait_it_reads_only_for_half_a_batch_at_least() {
    let mut story = Story::reading(1, 4);
    assert_eq!(reads(&story.read((1..=4).map(entry).collect())), None, "room for one");
    story.on(done(1));
    let outputs = story.on(super::acked(1));
    assert_eq!(reads(&outputs), Some(2), "{outputs:?}");
}

#[test]
fn with_no_event_waiting_it_reads_for_what_room_there_is_and_never_for_none() {
    let mut story = Story::reading(1, 4);
    story.read((1..=4).map(entry).collect());
    for ms in 1..=2 {
        assert_eq!(reads(&story.on(retry(ms))), None, "room for one, and others wait");
    }
    assert_eq!(reads(&story.on(retry(3))), None);
    assert_eq!(reads(&story.on(Input::Tick)), Some(1), "the last one runs by now");
    story.read(vec![entry(5)]);
    story.on(retry(4));
    assert_eq!(reads(&story.on(Input::Tick)), None);
}

#[test]
fn what_is_delayed_here_counts_at_once_towards_what_pauses_reading() {
    let full_but_one = || {
        let mut story = Story::new(1, 1);
        story.on(Input::Connected);
        story.heartbeat_answered(HeartbeatReport { delayed: 9_999, ..HeartbeatReport::default() });
        story.claimed(Pool::Delayed, vec![]);
        story.read(vec![entry(1)]);
        story.on(retry(1));
        story.read(vec![entry(2)]);
        story
    };
    let mut story = full_but_one();
    let outputs = story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)]));
    assert_eq!(reads(&outputs), None);
    for settled in [WriteResult::NotMine, WriteResult::Refused] {
        let mut story = full_but_one();
        let outputs = story.on(Input::Delayed(vec![(of_stream(1), settled)]));
        assert_eq!(reads(&outputs), Some(1), "{settled:?}");
    }
}

#[test]
fn replays_that_are_delayed_pause_no_reading() {
    let mut story = Story::new(2, 2);
    story.on(Input::Connected);
    story.heartbeat_answered(HeartbeatReport {
        delayed: 9_999,
        replays: 1,
        ..HeartbeatReport::default()
    });
    let (source, pool) = (Source::DeadLetters, Pool::Delayed);
    story.on(Input::Claimed { sent: story.now, source, pool, entries: vec![claimed(1, 1)] });
    let replay = super::EntryRef { source, id: super::id(1) };
    story.on(Input::Handled(vec![(replay, super::Outcome::TimedOut)]));
    story.on(Input::Delayed(vec![(replay, WriteResult::Done)]));
    assert_eq!(reads(&story.read(vec![])), Some(2));
}

#[test]
fn a_suspect_waits_for_the_outstanding_read_although_nothing_is_in_flight() {
    let mut story = Story::reading(1, 1);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    assert_eq!(story.heartbeat_answered(suspects()), []);
    assert_eq!(story.read(vec![]), [claim(Pool::Suspect, 1)]);
}

#[test]
fn suspects_of_one_place_do_not_end_those_of_the_other() {
    let mut story = Story::reading(1, 1);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    let both = vec![Source::Stream, Source::DeadLetters];
    story.heartbeat_answered(HeartbeatReport { suspects: both, ..HeartbeatReport::default() });
    assert_eq!(story.read(vec![]), [claim(Pool::Suspect, 1)]);
    let (source, pool) = (Source::DeadLetters, Pool::Suspect);
    let outputs = story.claimed(Pool::Suspect, vec![]);
    assert_eq!(outputs, [Output::Claim { source, pool, count: 1 }]);
}
