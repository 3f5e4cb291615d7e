//! Number of handler calls for one event, and the end after the last one.

use crate::delivery::{Source, WriteResult};

use super::{
    DeadLetter, Input, Outcome, Output, Pool, Story, claimed, delay, delayed, done, entry,
    of_stream, retry, started, suspects,
};

fn dead_lettered(ms: u64, attempts: u32, reason: &'static str, error: &str) -> Output {
    let error = error.to_owned();
    Output::DeadLetter(DeadLetter { entry: of_stream(ms), attempts, reason, error })
}

/// About to claim suspects, with nothing in flight.
fn alone() -> Story {
    let mut story = Story::reading(1, 1);
    story.read(vec![]);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    story.heartbeat_answered(suspects());
    story.read(vec![]);
    story
}

#[test]
fn an_event_that_fails_at_its_last_attempt_becomes_a_dead_letter_at_once() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    assert_eq!(started(&story.claimed(Pool::Delayed, vec![claimed(1, 5)])), [(1, 5)]);
    assert_eq!(story.on(retry(1))[0], dead_lettered(1, 5, "exhausted", "no"));
    story.on(Input::DeadLettered(of_stream(1), WriteResult::Done));
    assert_eq!(story.machine.counts().dead, 1);
}

#[test]
fn a_delayed_event_with_no_attempt_left_is_dead_lettered_and_not_handled_again() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    let outputs = story.claimed(Pool::Delayed, vec![claimed(1, 6)]);
    let error = "its dead letter could not be written before";
    assert_eq!(outputs[0], dead_lettered(1, 5, "exhausted", error));
    assert_eq!(started(&outputs), []);
}

#[test]
fn an_event_that_kills_its_consumers_is_begun_once_more_than_the_limit_and_then_dead_lettered() {
    let mut story = alone();
    assert_eq!(started(&story.claimed(Pool::Suspect, vec![claimed(1, 6)])), [(1, 6)]);
    let mut story = alone();
    let outputs = story.claimed(Pool::Suspect, vec![claimed(1, 7)]);
    let error = "its consumer vanished with it, at attempt 6 the last time";
    assert_eq!(outputs[0], dead_lettered(1, 6, "crashed", error));
    assert_eq!(started(&outputs), []);
}

#[test]
fn a_suspect_past_the_limit_that_merely_fails_is_dead_lettered() {
    let mut story = alone();
    story.claimed(Pool::Suspect, vec![claimed(1, 6)]);
    assert_eq!(story.on(retry(1))[0], dead_lettered(1, 6, "exhausted", "no"));
}

#[test]
fn a_call_cut_off_at_its_last_attempt_is_dead_lettered() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    story.claimed(Pool::Delayed, vec![claimed(1, 5)]);
    story.read(vec![]);
    story.on(Input::Stop);
    let outputs = story.on(Input::GraceOver);
    assert_eq!(outputs[0], Output::Cancel(of_stream(1)));
    let error = "the handler was cut off by a shutdown";
    assert_eq!(outputs[1], dead_lettered(1, 5, "exhausted", error));
}

#[test]
fn events_that_fail_together_do_not_come_back_together() {
    let mut story = Story::reading(2, 2);
    story.read(vec![entry(1), entry(2)]);
    let failed = |ms| (of_stream(ms), Outcome::TimedOut);
    let outputs = story.on(Input::Handled(vec![failed(1), failed(2)]));
    let Output::Delay(Source::Stream, requests) = &outputs[0] else {
        panic!("{outputs:?}");
    };
    assert_ne!(requests[0].delay, requests[1].delay);
}

#[test]
fn an_acknowledgement_of_what_was_not_pending_is_counted_as_unconfirmed() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(done(1));
    story.on(Input::Acked { entries: vec![of_stream(1)], confirmed: 0 });
    let counts = story.machine.counts();
    assert_eq!((counts.acknowledged, counts.unconfirmed, counts.in_flight), (1, 1, 0));
}

#[test]
fn an_attempt_before_the_last_is_delayed_as_before() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    story.claimed(Pool::Delayed, vec![claimed(1, 4)]);
    assert_eq!(story.on(retry(1))[0], delay(delayed(1, 4, 9)));
}
