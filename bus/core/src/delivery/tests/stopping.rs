//! Finishing: nothing new begins, nothing is forgotten, the name goes last.

use std::time::Duration;

use super::{
    HeartbeatReport, Input, Output, Story, ack, acked, done, entry, heartbeat_of, of_stream,
    started,
};

fn leaves(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Leave(_)))
}

#[test]
fn what_finishes_while_others_still_run_is_acknowledged_at_once() {
    let mut story = Story::reading(2, 2);
    story.read(vec![entry(1), entry(2)]);
    story.on(Input::Stop);
    assert_eq!(story.on(done(1)), [ack(&[1])]);
}

#[test]
fn nothing_begins_any_more_although_redis_is_away() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1), entry(2)]);
    story.on(Input::Disconnected { reading: false, cut: None });
    assert_eq!(story.on(Input::Stop), [], "something is in flight");
    assert_eq!(started(&story.on(done(1))), []);
}

#[test]
fn delayed_entries_are_not_looked_for_any_more() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Stop);
    assert_eq!(story.due_at(), Some(Duration::from_secs(9)), "the heartbeat");
    assert_eq!(story.after(1), []);
}

#[test]
fn a_stopping_consumer_leaves_the_search_for_abandoned_entries_to_others() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    for _ in 0..3 {
        story.after(10);
        story.heartbeat_answered(HeartbeatReport::default());
    }
    story.on(Input::Stop);
    let (ids, search) = heartbeat_of(&story.after(10)).unwrap();
    assert_eq!((ids, search), (vec![of_stream(1)], vec![]));
}

#[test]
fn the_name_stays_until_an_event_that_was_passed_over_is_acknowledged() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Stop);
    let mut unwanted = entry(1);
    unwanted.fields[0].1 = b"other".to_vec();
    assert_eq!(story.read(vec![unwanted]), [ack(&[1])]);
    assert!(leaves(&story.on(acked(1))));
    assert_eq!(story.on(Input::Tick), [], "it leaves once");
}

#[test]
fn the_name_stays_until_the_outstanding_heartbeat_is_answered() {
    let mut story = Story::reading(1, 1);
    story.after(10);
    story.claimed(super::Pool::Delayed, vec![]);
    story.on(Input::Stop);
    assert_eq!(story.read(vec![]), []);
    assert!(leaves(&story.heartbeat_answered(HeartbeatReport::default())));
}

#[test]
fn a_call_whose_entry_another_consumer_holds_is_cut_off_with_the_others() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(Input::NoGroup { reading: false });
    assert_eq!(story.on(Input::Stop), []);
    let outputs = story.on(Input::GraceOver);
    assert_eq!(outputs, [Output::Cancel(of_stream(1)), Output::Stopped]);
}
