//! Connections that break, and a group that goes missing.

use std::time::Duration;

use super::{
    HeartbeatReport, Input, Output, Pool, Story, ack, acked, delay, delayed, done, entry,
    of_stream, retry, started,
};

#[test]
fn after_an_outage_what_finished_is_acknowledged_before_anything_else() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(Input::Disconnected { reading: false, cut: None });
    assert_eq!(story.on(done(1)), []);
    story.now += Duration::from_secs(2);
    let outputs = story.on(Input::Connected);
    assert_eq!(outputs, [ack(&[1])]);
    let outputs = story.on(acked(1));
    assert!(matches!(outputs.as_slice(), [Output::Heartbeat { .. }]), "{outputs:?}");
}

#[test]
fn past_its_lease_an_entry_is_acknowledged_only_where_it_is_still_ours() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(Input::Disconnected { reading: false, cut: None });
    story.on(done(1));
    story.after(31);
    let outputs = story.on(Input::Connected);
    assert_eq!(outputs, [Output::Ack { entries: vec![of_stream(1)], checked: true }]);
}

#[test]
fn a_settlement_that_an_outage_cut_off_is_repeated() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(retry(1));
    story.on(Input::Disconnected { reading: false, cut: None });
    story.on(Input::Connected);
    let outputs = story.heartbeat_answered(HeartbeatReport::default());
    assert_eq!(outputs[0], delay(delayed(1, 1, 9)));
}

#[test]
fn when_the_group_is_lost_handlers_finish_and_their_end_means_nothing() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1), entry(2)]);
    story.on(Input::NoGroup { reading: false });
    assert_eq!(story.on(done(1)), []);
    assert_eq!(story.machine.counts().in_flight, 0);
}

#[test]
fn an_entry_delivered_again_while_its_handler_runs_is_not_handled_twice() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(Input::NoGroup { reading: false });
    story.on(Input::Connected);
    story.heartbeat_answered(HeartbeatReport::default());
    story.claimed(Pool::Delayed, vec![]);
    assert_eq!(started(&story.read(vec![entry(1)])), []);
    assert_eq!(story.on(done(1))[0], ack(&[1]));
}

#[test]
fn stopping_without_a_connection_is_not_done_while_the_server_counts_entries_as_ours() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1), entry(2)]);
    story.on(Input::Disconnected { reading: false, cut: None });
    story.on(Input::Stop);
    assert_eq!(story.after(31), [Output::Cancel(of_stream(1))]);
}

#[test]
fn a_read_that_outlives_its_connection_is_claimed_in() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Disconnected { reading: true, cut: None });
    assert_eq!(started(&story.read(vec![entry(1)])), [(1, 1)]);
}

#[test]
fn no_second_read_is_sent_beside_one_that_outlived_its_connection() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Disconnected { reading: true, cut: None });
    story.on(Input::Connected);
    story.heartbeat_answered(HeartbeatReport::default());
    let outputs = story.claimed(Pool::Delayed, vec![]);
    assert_eq!(outputs, []);
    assert_eq!(story.read(vec![]), [Output::Read { count: 1 }]);
}

#[test]
fn stopping_without_a_connection_awaits_a_read_that_may_bring_something() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Disconnected { reading: true, cut: None });
    assert_eq!(story.on(Input::Stop), []);
    assert_eq!(story.read(vec![]), [Output::Stopped]);
}

#[test]
fn stopping_without_a_connection_and_nothing_in_flight_is_done_at_once() {
    let mut story = Story::new(1, 1);
    assert_eq!(story.on(Input::Stop), [Output::Stopped]);
}
