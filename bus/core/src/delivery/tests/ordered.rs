//! Keeping the stream's order.

use std::time::Duration;

use crate::delivery::{DeliveryOrder, NextInOrder, Source};

use super::{
    DeliveryConfig, HeartbeatReport, Input, LEASE, Output, Pool, Story, WriteResult, ack, acked,
    claimed, delay, delayed, done, entry, heartbeat_of, id, of_stream, retry, started, suspects,
};

pub(super) const NEXT_IN_ORDER: Output = Output::Next { done: None };

pub(super) fn next_after(ms: u64) -> Output {
    Output::Next { done: Some(id(ms)) }
}

/// Connected and beaten; the outputs ask for the next entry.
pub(super) fn ordered() -> Story {
    let config = DeliveryConfig {
        concurrency: 1,
        ordering: DeliveryOrder::Stream,
        lease: LEASE,
        ..DeliveryConfig::default()
    };
    let mut story = Story::with(config);
    story.on(Input::Connected);
    assert_eq!(story.heartbeat_answered(HeartbeatReport::default()), [NEXT_IN_ORDER]);
    story
}

impl Story {
    pub(super) fn next(&mut self, next: NextInOrder) -> Vec<Output> {
        self.on(Input::Next { sent: self.now, done: None, next: Some(next) })
    }

    pub(super) fn next_entry(&mut self, ms: u64, attempt: u32) -> Vec<Output> {
        self.next(NextInOrder::Entry { pool: None, claimed: claimed(ms, attempt) })
    }
}

#[test]
fn the_next_entry_is_asked_for_when_the_one_before_is_done_and_acknowledged_with_it() {
    let mut story = ordered();
    assert_eq!(started(&story.next_entry(1, 1)), [(1, 1)]);
    assert_eq!(story.on(done(1)), [next_after(1)]);
    let next = Some(NextInOrder::Entry { pool: None, claimed: claimed(2, 1) });
    let outputs = story.on(Input::Next { sent: story.now, done: Some((id(1), true)), next });
    assert_eq!(started(&outputs), [(2, 1)]);
    assert_eq!(story.machine.counts().acknowledged, 1);
}

#[test]
fn a_failing_event_holds_the_others_up_until_it_is_due_again() {
    let mut story = ordered();
    story.next_entry(1, 1);
    assert_eq!(story.on(retry(1)), [delay(delayed(1, 1, 9))]);
    assert_eq!(story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)])), [NEXT_IN_ORDER]);
    assert_eq!(story.next(NextInOrder::Wait(Duration::from_millis(500))), []);
    assert_eq!(story.due_at(), Some(Duration::from_millis(500)));
    assert_eq!(story.after(1), [NEXT_IN_ORDER]);
}

#[test]
fn at_the_end_of_the_stream_it_waits_without_reading() {
    let mut story = ordered();
    let outputs = story.next(NextInOrder::Empty(id(5)));
    assert_eq!(outputs, [Output::WaitForEntry { after: id(5) }]);
    assert_eq!(story.on(Input::Arrived), [NEXT_IN_ORDER]);
}

#[test]
fn what_another_consumer_did_meanwhile_is_unconfirmed_and_the_next_is_asked_for_again() {
    let mut story = ordered();
    story.next_entry(1, 1);
    story.on(done(1));
    let outputs = story.on(Input::Next { sent: story.now, done: Some((id(1), false)), next: None });
    assert_eq!(outputs, [NEXT_IN_ORDER]);
    assert_eq!(story.machine.counts().unconfirmed, 1);
}

#[test]
fn a_replay_runs_only_at_the_end_of_the_stream() {
    let mut story = ordered();
    story.next_entry(1, 1);
    story.after(10);
    story.heartbeat_answered(HeartbeatReport { replays: 1, ..HeartbeatReport::default() });
    assert_eq!(story.on(done(1)), [next_after(1)]);
    let (done, next) = (Some((id(1), true)), Some(NextInOrder::Empty(id(1))));
    let outputs = story.on(Input::Next { sent: story.now, done, next });
    let (source, pool) = (Source::DeadLetters, Pool::Delayed);
    assert_eq!(outputs, [Output::Claim { source, pool, count: 1 }]);
    let entries = vec![claimed(9, 1)];
    let outputs = story.on(Input::Claimed { sent: story.now, source, pool, entries });
    assert_eq!(started(&outputs), [(9, 1)]);
}

#[test]
fn an_entry_that_was_trimmed_is_lost_and_the_next_is_asked_for() {
    let mut story = ordered();
    let gone = super::Claimed { id: id(1), attempt: 2, entry: None };
    let outputs = story.next(NextInOrder::Entry { pool: Some(Pool::Suspect), claimed: gone });
    assert_eq!(outputs, [Output::Trimmed(of_stream(1)), NEXT_IN_ORDER]);
    assert_eq!(story.machine.counts().lost, 1);
}

#[test]
fn an_event_of_an_unwanted_type_is_acknowledged_before_the_next_is_asked_for() {
    let mut story = ordered();
    let mut unwanted = claimed(1, 1);
    unwanted.entry.as_mut().unwrap().fields[0].1 = b"other".to_vec();
    let outputs = story.next(NextInOrder::Entry { pool: None, claimed: unwanted });
    assert_eq!(outputs, [ack(&[1])]);
    assert_eq!(story.on(acked(1)), [NEXT_IN_ORDER]);
}

#[test]
fn stopping_acknowledges_by_itself_and_does_not_wait_for_an_event_to_arrive() {
    let mut story = ordered();
    story.next_entry(1, 1);
    story.on(Input::Stop);
    assert_eq!(story.on(done(1)), [ack(&[1])]);
    let mut story = ordered();
    story.next(NextInOrder::Empty(id(5)));
    assert!(matches!(story.on(Input::Stop).as_slice(), [Output::Leave(_)]));
}

#[test]
fn with_order_kept_only_the_dead_letters_are_searched_for_abandoned_entries() {
    let mut story = ordered();
    for _ in 0..2 {
        story.after(15);
        story.heartbeat_answered(suspects());
    }
    story.now += LEASE;
    let (_, search) = heartbeat_of(&story.on(Input::Tick)).unwrap();
    assert_eq!(search, [Source::DeadLetters]);
}

#[test]
fn an_outage_repeats_the_acknowledgement_that_it_cut_off() {
    let mut story = ordered();
    story.next_entry(1, 1);
    story.on(done(1));
    story.on(Input::Disconnected { reading: false, cut: None });
    assert_eq!(story.on(Input::Connected), [ack(&[1])]);
    assert!(heartbeat_of(&story.on(acked(1))).is_some());
    assert_eq!(story.heartbeat_answered(HeartbeatReport::default()), [NEXT_IN_ORDER]);
    assert_eq!(started(&story.read(vec![entry(2)])), [(2, 1)]);
}

#[test]
fn the_consumer_that_has_the_entry_may_release_it_early_so_it_is_asked_for_each_second() {
    let mut story = ordered();
    story.next(NextInOrder::Wait(LEASE));
    assert_eq!(story.after(1), [NEXT_IN_ORDER]);
}
