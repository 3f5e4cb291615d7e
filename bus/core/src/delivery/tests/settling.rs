//! Commands that end an entry: in batches, once each, and counted.

use std::time::Duration;

use super::{
    Answer, Input, Outcome, Output, Pool, RawEntry, Story, WriteResult, ack, acked, at, claimed,
    delay, delayed, done, entry, of_stream, retry, started, suspects,
};

fn unwanted(ms: u64) -> RawEntry {
    let mut entry = entry(ms);
    entry.fields[0].1 = b"other".to_vec();
    entry
}

fn acks(outputs: &[Output]) -> Option<usize> {
    outputs.iter().find_map(|output| match output {
        Output::Ack { entries, .. } => Some(entries.len()),
        _ => None,
    })
}

fn dead(ms: u64) -> Input {
    Input::Handled(vec![(of_stream(ms), Outcome::Answered(Answer::dead("422")))])
}

#[test]
fn sixty_four_are_acknowledged_at_once_whether_handled_or_passed_over() {
    let mut story = Story::reading(100, 100);
    story.read((0..65).map(entry).collect());
    let finished = |ms| (of_stream(ms), Outcome::Answered(Answer::Done));
    assert_eq!(acks(&story.on(Input::Handled((0..63).map(finished).collect()))), None);
    assert_eq!(acks(&story.on(done(63))), Some(64));
    let mut story = Story::reading(100, 100);
    story.read(vec![entry(0)]);
    assert_eq!(acks(&story.read((1..64).map(unwanted).collect())), None);
    assert_eq!(acks(&story.read(vec![unwanted(64)])), Some(64));
}

#[test]
fn each_acknowledgement_gathers_for_itself_and_carries_no_entry_twice() {
    let mut story = Story::reading(3, 6);
    story.read(vec![entry(1), entry(2), entry(3)]);
    story.on(done(1));
    story.now = at(Duration::from_millis(5));
    assert_eq!(story.on(Input::Tick), [ack(&[1])]);
    story.now = at(Duration::from_millis(6));
    assert_eq!(story.on(done(2)), []);
    assert_eq!(story.due_at(), Some(Duration::from_millis(11)));
    story.now = at(Duration::from_millis(11));
    assert_eq!(story.on(Input::Tick), [ack(&[2])]);
    assert_eq!(story.on(acked(1)), []);
    assert_eq!(story.machine.counts().unconfirmed, 0);
}

#[test]
fn the_last_in_flight_waits_for_those_that_are_being_acknowledged() {
    let mut story = Story::reading(2, 4);
    story.read(vec![entry(1), entry(2)]);
    story.on(done(1));
    story.now = at(Duration::from_millis(5));
    story.on(Input::Tick);
    assert_eq!(story.on(done(2)), []);
    assert_eq!(acks(&story.on(acked(1))), Some(1));
}

#[test]
fn an_entry_is_delayed_once() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    assert_eq!(story.on(retry(1))[0], delay(delayed(1, 1, 9)));
    assert_eq!(story.on(Input::Tick), []);
}

#[test]
fn a_dead_letter_is_stored_once() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    assert!(matches!(story.on(dead(1))[0], Output::DeadLetter(_)));
    assert_eq!(story.on(Input::Tick), []);
}

#[test]
fn only_a_dead_letter_that_was_stored_is_counted_and_either_way_it_is_not_in_flight() {
    for (settled, count) in [(WriteResult::Done, 1), (WriteResult::NotMine, 0)] {
        let mut story = Story::reading(1, 1);
        story.read(vec![entry(1)]);
        story.on(dead(1));
        story.on(Input::DeadLettered(of_stream(1), settled));
        let counts = story.machine.counts();
        assert_eq!((counts.dead, counts.in_flight), (count, 0), "{settled:?}");
    }
}

#[test]
fn a_refused_dead_letter_keeps_more_attempts_than_the_limit() {
    let mut story = Story::reading(1, 1);
    story.read(vec![]);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    story.heartbeat_answered(suspects());
    story.read(vec![]);
    assert_eq!(started(&story.claimed(Pool::Suspect, vec![claimed(1, 6)])), [(1, 6)]);
    story.on(dead(1));
    let outputs = story.on(Input::DeadLettered(of_stream(1), WriteResult::Refused));
    assert_eq!(outputs[0], delay(delayed(1, 6, 300)));
}

#[test]
fn what_came_in_and_what_will_be_tried_again_is_counted() {
    let mut story = Story::reading(3, 3);
    story.read(vec![entry(1), entry(2), unwanted(3)]);
    story.on(retry(1));
    let counts = story.machine.counts();
    assert_eq!((counts.received, counts.retried, counts.skipped), (3, 1, 1));
}
