//! Keeping the stream's order: one command at a time.

use std::time::Duration;

use crate::delivery::NextInOrder;

use super::ordered::{NEXT_IN_ORDER, next_after, ordered};
use super::{
    Answer, DeadLetter, EntryRef, HeartbeatReport, Input, Outcome, Output, Pool, Source, Story,
    ack, acked, claimed, delay, delayed, done, id, of_stream, suspects,
};

const REPLAY: Output = Output::Claim { source: Source::DeadLetters, pool: Pool::Delayed, count: 1 };

fn empty() -> NextInOrder {
    NextInOrder::Empty(id(5))
}

fn awaits() -> Vec<Output> {
    vec![Output::WaitForEntry { after: id(5) }]
}

/// A heartbeat reported this while nothing but the question for the next entry was outstanding.
fn with_report(report: HeartbeatReport) -> Story {
    let mut story = ordered();
    story.after(10);
    assert_eq!(story.heartbeat_answered(report), [], "one question is enough");
    story
}

fn replays_claimed(story: &mut Story, count: u64) -> Vec<Output> {
    let (source, pool) = (Source::DeadLetters, Pool::Delayed);
    let entries = (0..count).map(|n| claimed(9 + n, 1)).collect();
    story.on(Input::Claimed { sent: story.now, source, pool, entries })
}

#[test]
fn nothing_is_asked_for_twice() {
    let mut story = ordered();
    assert_eq!(story.on(Input::Tick), []);
    assert_eq!(story.next(empty()), awaits());
    assert_eq!(story.on(Input::Tick), []);
    let mut story = with_report(HeartbeatReport { replays: 1, ..HeartbeatReport::default() });
    assert_eq!(story.next(empty()), [REPLAY]);
    assert_eq!(story.on(Input::Tick), []);
}

#[test]
fn after_an_outage_at_the_end_of_the_stream_it_asks_again() {
    let mut story = ordered();
    story.next(empty());
    story.on(Input::Disconnected { reading: false, cut: None });
    story.on(Input::Connected);
    assert_eq!(story.heartbeat_answered(HeartbeatReport::default()), [NEXT_IN_ORDER]);
}

#[test]
fn after_a_claim_of_replays_it_asks_for_events_and_then_waits() {
    let mut story = with_report(HeartbeatReport { replays: 1, ..HeartbeatReport::default() });
    story.next(empty());
    assert_eq!(replays_claimed(&mut story, 0), [NEXT_IN_ORDER]);
    assert_eq!(story.next(empty()), awaits(), "a second did not go by yet");
    story.now += Duration::from_secs(1);
    assert_eq!(story.on(Input::Arrived), [NEXT_IN_ORDER]);
    assert_eq!(story.next(empty()), [REPLAY]);
}

#[test]
fn a_replay_that_is_done_is_acknowledged_by_itself_before_the_next_event() {
    let mut story = with_report(HeartbeatReport { replays: 1, ..HeartbeatReport::default() });
    story.next(empty());
    replays_claimed(&mut story, 1);
    let replay = EntryRef { source: Source::DeadLetters, id: id(9) };
    let outcome = Outcome::Answered(Answer::Done);
    let outputs = story.on(Input::Handled(vec![(replay, outcome)]));
    assert_eq!(outputs, [Output::Ack { entries: vec![replay], checked: true }]);
    let outputs = story.on(Input::Acked { entries: vec![replay], confirmed: 1 });
    assert_eq!(outputs, [NEXT_IN_ORDER]);
}

#[test]
fn suspects_of_the_stream_come_in_their_order_and_those_to_be_replayed_at_its_end() {
    let mut story = with_report(suspects());
    assert_eq!(story.next(empty()), awaits());
    let places = vec![Source::DeadLetters];
    let mut story = with_report(HeartbeatReport { suspects: places, ..HeartbeatReport::default() });
    let (source, pool) = (Source::DeadLetters, Pool::Suspect);
    assert_eq!(story.next(empty()), [Output::Claim { source, pool, count: 1 }]);
}

#[test]
fn attempts_end_in_order_as_without_it() {
    let cases = [
        (
            Pool::Suspect,
            7,
            6,
            "crashed",
            "its consumer vanished with it, at attempt 6 the last time",
        ),
        (Pool::Delayed, 6, 5, "exhausted", "its dead letter could not be written before"),
    ];
    for (pool, attempt, attempts, reason, error) in cases {
        let mut story = ordered();
        let outputs =
            story.next(NextInOrder::Entry { pool: Some(pool), claimed: claimed(1, attempt) });
        let (entry, error) = (of_stream(1), error.to_owned());
        assert_eq!(outputs, [Output::DeadLetter(DeadLetter { entry, attempts, reason, error })]);
    }
}

#[test]
fn what_goes_out_with_the_next_question_is_not_acknowledged_beside_it() {
    let mut story = ordered();
    story.next_entry(1, 1);
    assert_eq!(story.on(done(1)), [next_after(1)]);
    assert_eq!(story.due_at(), Some(Duration::from_secs(9)), "the heartbeat");
    assert_eq!(story.on(Input::Stop), []);
}

#[test]
fn stopping_asks_for_nothing_more_and_releases_what_was_asked_for() {
    let mut story = ordered();
    story.next_entry(1, 1);
    story.on(Input::Stop);
    assert_eq!(story.on(done(1)), [ack(&[1])]);
    assert!(matches!(story.on(acked(1)).as_slice(), [Output::Leave(_)]));
    let mut story = ordered();
    assert_eq!(story.on(Input::Stop), [], "a question is outstanding");
    assert_eq!(story.next_entry(1, 1), [delay(delayed(1, 0, 0))]);
}
