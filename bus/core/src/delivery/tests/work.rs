//! What is read and taken, and by how many workers.

use std::time::Duration;

use super::{
    BeatReport, Input, Output, Pool, Settled, Story, done, entry, of_stream, retry, started,
    suspects, take, taken,
};
use crate::delivery::Source;

fn reads(outputs: &[Output]) -> Option<usize> {
    outputs.iter().find_map(|output| match output {
        Output::Read { count } => Some(*count),
        _ => None,
    })
}

fn takes(outputs: &[Output]) -> Option<usize> {
    outputs.iter().find_map(|output| match output {
        Output::Take { count, .. } => Some(*count),
        _ => None,
    })
}

#[test]
fn parked_entries_are_looked_for_every_second() {
    let mut story = Story::reading(2, 2);
    assert_eq!(story.machine.wake_at(story.now), Some(Duration::from_secs(1)));
    story.now = Duration::from_millis(999);
    assert_eq!(story.on(Input::Tick), []);
    story.now = Duration::from_secs(1);
    assert_eq!(story.on(Input::Tick), [take(Pool::Parked, 2)]);
    assert_eq!(story.on(Input::Tick), [], "one at a time");
}

#[test]
fn after_a_full_take_the_next_comes_as_soon_as_there_is_a_worker() {
    let mut story = Story::reading(2, 2);
    story.after(1);
    story.taken(Pool::Parked, vec![taken(1, 2), taken(2, 2)]);
    assert_eq!(takes(&story.on(done(1))), Some(1));
    story.taken(Pool::Parked, vec![]);
    assert_eq!(takes(&story.on(done(2))), None, "that brought less than was asked for");
}

#[test]
fn what_is_due_without_a_free_worker_wakes_nobody() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    assert_eq!(takes(&story.after(1)), None);
    assert_eq!(story.machine.wake_at(story.now), Some(Duration::from_secs(9)), "the beat");
}

#[test]
fn a_take_that_is_outstanding_wakes_nobody() {
    let mut story = Story::reading(2, 2);
    story.after(10);
    story.taken(Pool::Parked, vec![]);
    let outputs = story.beaten(BeatReport { replays: 1, ..BeatReport::default() });
    assert_eq!(takes(&outputs), Some(2));
    assert_eq!(story.machine.wake_at(story.now), Some(Duration::from_secs(19)), "the beat");
}

#[test]
fn replays_are_looked_for_every_second_too() {
    let mut story = Story::reading(2, 2);
    story.after(10);
    story.taken(Pool::Parked, vec![]);
    story.beaten(BeatReport { replays: 1, ..BeatReport::default() });
    story.now += Duration::from_millis(500);
    story.read(vec![entry(1), entry(2)]);
    let (source, pool) = (Source::DeadLetters, Pool::Parked);
    story.on(Input::Taken { sent: story.now, source, pool, entries: vec![] });
    story.now += Duration::from_millis(500);
    assert_eq!(story.on(Input::Tick), [], "no worker is free");
    assert_eq!(story.machine.wake_at(story.now), Some(Duration::from_millis(11_500)));
}

#[test]
fn retries_get_every_worker_that_no_new_event_waits_for() {
    let mut story = Story::reading(4, 4);
    story.read(vec![entry(1)]);
    assert_eq!(takes(&story.after(1)), Some(3));
}

#[test]
fn a_retry_is_begun_before_the_next_one_is_taken() {
    let mut story = Story::reading(4, 4);
    story.read((1..=4).map(entry).collect());
    story.read((5..=8).map(entry).collect());
    story.after(1);
    story.on(done(1));
    let outputs = story.taken(Pool::Parked, vec![taken(20, 2)]);
    assert_eq!((takes(&outputs), started(&outputs)), (None, vec![(20, 2)]));
}

#[test]
fn retries_that_run_count_towards_their_half_and_those_parked_again_do_not() {
    let mut story = Story::reading(4, 4);
    story.read((1..=4).map(entry).collect());
    story.read((5..=8).map(entry).collect());
    story.after(1);
    assert_eq!(takes(&story.on(done(1))), Some(1));
    story.taken(Pool::Parked, vec![taken(20, 2)]);
    assert_eq!(takes(&story.on(done(2))), Some(1));
    story.taken(Pool::Parked, vec![taken(21, 2)]);
    let outputs = story.on(done(3));
    assert_eq!((takes(&outputs), started(&outputs)), (None, vec![(5, 1)]));
    let outputs = story.on(retry(20));
    assert_eq!(takes(&outputs), Some(1), "{outputs:?}");
}

#[test]
fn a_single_worker_takes_retries_although_new_events_wait() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1), entry(2)]);
    story.after(1);
    let outputs = story.on(done(1));
    assert_eq!((takes(&outputs), started(&outputs)), (Some(1), vec![]));
}

#[test]
fn what_a_take_may_bring_counts_as_in_hand() {
    let mut story = Story::reading(2, 2);
    assert_eq!(takes(&story.after(1)), Some(2));
    assert_eq!(reads(&story.read(vec![entry(1), entry(2)])), None);
    assert_eq!(reads(&story.taken(Pool::Parked, vec![])), Some(2));
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
fn what_is_parked_here_counts_at_once_towards_what_pauses_reading() {
    let full_but_one = || {
        let mut story = Story::new(1, 1);
        story.on(Input::Connected);
        story.beaten(BeatReport { parked: 9_999, ..BeatReport::default() });
        story.taken(Pool::Parked, vec![]);
        story.read(vec![entry(1)]);
        story.on(retry(1));
        story.read(vec![entry(2)]);
        story
    };
    let mut story = full_but_one();
    let outputs = story.on(Input::Parked(vec![(of_stream(1), Settled::Done)]));
    assert_eq!(reads(&outputs), None);
    for settled in [Settled::NotMine, Settled::Refused] {
        let mut story = full_but_one();
        let outputs = story.on(Input::Parked(vec![(of_stream(1), settled)]));
        assert_eq!(reads(&outputs), Some(1), "{settled:?}");
    }
}

#[test]
fn replays_that_are_parked_pause_no_reading() {
    let mut story = Story::new(2, 2);
    story.on(Input::Connected);
    story.beaten(BeatReport { parked: 9_999, replays: 1, ..BeatReport::default() });
    let (source, pool) = (Source::DeadLetters, Pool::Parked);
    story.on(Input::Taken { sent: story.now, source, pool, entries: vec![taken(1, 1)] });
    let replay = super::EntryRef { source, id: super::id(1) };
    story.on(Input::Handled(vec![(replay, super::Outcome::TimedOut)]));
    story.on(Input::Parked(vec![(replay, Settled::Done)]));
    assert_eq!(reads(&story.read(vec![])), Some(2));
}

#[test]
fn a_suspect_waits_for_the_outstanding_read_although_nothing_is_in_hand() {
    let mut story = Story::reading(1, 1);
    story.after(10);
    story.taken(Pool::Parked, vec![]);
    assert_eq!(story.beaten(suspects()), []);
    assert_eq!(story.read(vec![]), [take(Pool::Suspect, 1)]);
}

#[test]
fn suspects_of_one_place_do_not_end_those_of_the_other() {
    let mut story = Story::reading(1, 1);
    story.after(10);
    story.taken(Pool::Parked, vec![]);
    let both = vec![Source::Stream, Source::DeadLetters];
    story.beaten(BeatReport { suspects: both, ..BeatReport::default() });
    assert_eq!(story.read(vec![]), [take(Pool::Suspect, 1)]);
    let (source, pool) = (Source::DeadLetters, Pool::Suspect);
    let outputs = story.taken(Pool::Suspect, vec![]);
    assert_eq!(outputs, [Output::Take { source, pool, count: 1 }]);
}
