//! Effects of an outage, and of the reconnect after it.

use std::time::Duration;

use super::{
    Answer, DeadLetter, HeartbeatReport, Input, Outcome, Output, Pool, Story, ack, acked, claim,
    done, entry, heartbeat_of, of_stream,
};

const GONE: Input = Input::Disconnected { reading: false, cut: None };

#[test]
fn only_the_end_of_a_lease_is_due_while_redis_is_unreachable() {
    let mut story = Story::reading(2, 2);
    story.on(GONE);
    assert_eq!(story.due_at(), None);
    let mut story = Story::reading(2, 2);
    story.read(vec![entry(1), entry(2)]);
    story.on(GONE);
    story.on(done(1));
    assert_eq!(story.due_at(), Some(Duration::from_secs(30)));
}

#[test]
fn after_an_outage_it_reads_and_claims_again() {
    let mut story = Story::reading(1, 1);
    let claims = story.after(1);
    assert_eq!(claims, [claim(Pool::Delayed, 1)]);
    story.on(GONE);
    story.on(Input::Connected);
    let outputs = story.heartbeat_answered(HeartbeatReport::default());
    assert!(matches!(outputs.as_slice(), [Output::ListPending { .. }]), "{outputs:?}");
    let outputs = story.listed(vec![]);
    assert_eq!(outputs, [claim(Pool::Delayed, 1), Output::Read { count: 1 }]);
}

#[test]
fn an_acknowledgement_that_an_outage_cut_off_is_sent_again_and_then_a_heartbeat() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    assert_eq!(story.on(done(1))[0], ack(&[1]));
    story.on(GONE);
    assert_eq!(story.on(Input::Connected), [ack(&[1])]);
    assert_eq!(heartbeat_of(&story.on(Input::Tick)), None, "it is not answered yet");
    assert!(heartbeat_of(&story.on(acked(1))).is_some());
    assert_eq!(heartbeat_of(&story.on(Input::Tick)), None, "one at a time");
}

#[test]
fn a_dead_letter_that_an_outage_cut_off_is_stored_again() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    let letter = || {
        let (reason, error) = ("rejected", "422".to_owned());
        Output::DeadLetter(DeadLetter { entry: of_stream(1), attempts: 1, reason, error })
    };
    let dead = Outcome::Answered(Answer::dead("422"));
    assert_eq!(story.on(Input::Handled(vec![(of_stream(1), dead)]))[0], letter());
    story.on(GONE);
    story.on(Input::Connected);
    assert_eq!(story.heartbeat_answered(HeartbeatReport::default())[0], letter());
}

#[test]
fn at_the_very_end_of_its_lease_an_entry_is_acknowledged_once_and_checked() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(GONE);
    story.on(done(1));
    story.after(30);
    let outputs = story.on(Input::Connected);
    assert_eq!(outputs, [Output::Ack { entries: vec![of_stream(1)], checked: true }]);
}

#[test]
fn what_was_passed_over_in_a_group_that_is_lost_is_not_acknowledged() {
    let mut story = Story::reading(2, 2);
    let mut unwanted = entry(2);
    unwanted.fields[0].1 = b"other".to_vec();
    story.read(vec![entry(1), unwanted]);
    story.on(Input::NoGroup { reading: false });
    let outputs = story.on(Input::Connected);
    assert!(matches!(outputs.as_slice(), [Output::Heartbeat { .. }]), "{outputs:?}");
}

#[test]
fn dropped_entries_are_settled_by_a_heartbeat_or_by_the_loss_of_the_group() {
    let let_go = || {
        let mut story = Story::reading(1, 1);
        story.read(vec![entry(1)]);
        story.on(GONE);
        story.after(30);
        story
    };
    let mut story = let_go();
    assert_eq!(story.on(Input::Stop), [], "the server still counts it as ours");
    let mut story = let_go();
    story.on(Input::Connected);
    story.heartbeat_answered(HeartbeatReport::default());
    story.on(Input::Stop);
    let outputs = story.listed(vec![]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Leave(_))), "{outputs:?}");
    let mut story = let_go();
    story.on(Input::NoGroup { reading: false });
    assert_eq!(story.on(Input::Stop), [Output::Stopped]);
}
