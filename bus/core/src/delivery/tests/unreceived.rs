//! Replies that do not arrive: what they were for is given back and claimed again, in smaller parts.

use std::time::Duration;

use crate::delivery::{Counts, Cut, DeliveryOrder};

use super::*;

const CLOSED: Option<Cut> = Some(Cut::Closed);

fn listed(ms: u64, deliveries: u32) -> PendingEntry {
    PendingEntry { id: id(ms), deliveries }
}

/// Connects again, and answers everything up to the list of pending entries.
fn reconnect(story: &mut Story) -> Vec<Output> {
    story.on(Input::Connected);
    story.heartbeat_answered(HeartbeatReport::default())
}

/// Loses a claim of one entry, which is then listed. Returns the outputs of that.
fn fail_alone(story: &mut Story) -> Vec<Output> {
    story.on(Input::Disconnected { reading: true, cut: CLOSED });
    reconnect(story);
    story.read(vec![]);
    story.listed(vec![listed(1, 1)])
}

fn with_budget(max_bytes: usize, largest: usize) -> Story {
    let mut story = Story::with(DeliveryConfig { max_bytes, ..DeliveryConfig::default() });
    story.machine.fetch.note(largest);
    story
}

fn read_count(outputs: &[Output]) -> Option<usize> {
    outputs.iter().find_map(|output| match output {
        Output::Read { count } => Some(*count),
        _ => None,
    })
}

fn claim_count(outputs: &[Output]) -> Option<usize> {
    outputs.iter().find_map(|output| match output {
        Output::Claim { count, .. } => Some(*count),
        _ => None,
    })
}

#[test]
fn case_02_a_read_that_was_cut_off_is_given_back_and_the_next_one_is_for_half() {
    let mut story = Story::reading(2, 16);
    story.on(Input::Disconnected { reading: false, cut: CLOSED });
    let outputs = reconnect(&mut story);
    let asked = Output::ListPending { source: Source::Stream, count: 16 + 256 };
    assert_eq!(outputs, [asked], "nothing is fetched before it is known what is pending");
    let outputs = story.listed(vec![listed(1, 1), listed(2, 1)]);
    let given_back = Output::Delay(Source::Stream, vec![delayed(1, 0, 0), delayed(2, 0, 0)]);
    assert_eq!(outputs[0], given_back);
    assert_eq!(claim_count(&outputs), None, "they are not delayed yet");
    assert_eq!(read_count(&outputs), Some(8));
    let done = |ms| (of_stream(ms), WriteResult::Done);
    let outputs = story.on(Input::Delayed(vec![done(1), done(2)]));
    assert_eq!(outputs, [claim(Pool::Delayed, 2)]);
}

#[test]
fn case_02_a_claim_that_was_late_is_given_back_and_gets_more_time() {
    let mut story = Story::reading(8, 16);
    story.after(1);
    let limit = story.machine.reply_limit();
    story.on(Input::Disconnected { reading: true, cut: Some(Cut::Late) });
    assert_eq!(story.machine.reply_limit(), limit * 2);
    assert_eq!(reconnect(&mut story), [], "the read on the old connection may still bring entries");
    let outputs = story.read(vec![entry(9)]);
    assert!(outputs.iter().any(|o| matches!(o, Output::ListPending { .. })), "{outputs:?}");
    // Its second delivery was the claim; the handler was never called.
    let outputs = story.listed(vec![listed(1, 2), listed(9, 1)]);
    assert!(outputs.contains(&delay(delayed(1, 1, 0))), "{outputs:?}");
    let outputs = story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)]));
    assert_eq!(claim_count(&outputs), Some(4));
}

#[test]
fn case_02_a_read_that_fails_after_its_connection_is_listed_too() {
    let mut story = Story::reading(1, 4);
    story.on(Input::Disconnected { reading: true, cut: None });
    reconnect(&mut story);
    let outputs = story.on(Input::ReadFailed);
    assert_eq!(outputs, [], "a claim is on its way");
    let outputs = story.claimed(Pool::Delayed, vec![]);
    assert!(matches!(outputs.as_slice(), [Output::ListPending { .. }]), "{outputs:?}");
}

#[test]
fn case_02_full_reads_that_are_answered_grow_again() {
    let mut story = Story::reading(64, 16);
    story.on(Input::Disconnected { reading: false, cut: CLOSED });
    reconnect(&mut story);
    let mut counts = vec![read_count(&story.listed(vec![])).unwrap()];
    let mut next = 1;
    for _ in 0..2 {
        let count = *counts.last().unwrap() as u64;
        let outputs = story.read((next..next + count).map(entry).collect());
        next += count;
        counts.extend(read_count(&outputs));
    }
    assert_eq!(counts, [8, 16, 16]);
}

#[test]
fn case_02_an_entry_without_an_attempt_left_is_given_back_as_a_suspect() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Disconnected { reading: false, cut: CLOSED });
    reconnect(&mut story);
    let outputs = story.listed(vec![listed(1, 6)]);
    assert_eq!(outputs[0], delay(DelayRequest { pool: Pool::Suspect, ..delayed(1, 5, 0) }));
}

#[test]
fn case_06_a_count_that_another_client_raised_leaves_one_attempt() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Disconnected { reading: false, cut: CLOSED });
    reconnect(&mut story);
    let outputs = story.listed(vec![listed(1, 1_000)]);
    assert_eq!(outputs[0], delay(DelayRequest { pool: Pool::Suspect, ..delayed(1, 5, 0) }));
}

#[test]
fn a_refused_dead_letter_whose_claim_was_lost_is_not_handled_again() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    story.on(Input::Disconnected { reading: true, cut: CLOSED });
    reconnect(&mut story);
    story.read(vec![]);
    let outputs = story.listed(vec![listed(1, 6)]);
    assert_eq!(outputs[0], delay(delayed(1, 5, 0)), "it came from the delayed ones");
}

#[test]
fn a_consumer_that_stops_gives_back_what_it_did_not_receive() {
    let mut story = Story::reading(1, 4);
    story.on(Input::Disconnected { reading: false, cut: CLOSED });
    assert_eq!(story.on(Input::Stop), [], "entries are pending under its name");
    reconnect(&mut story);
    let outputs = story.listed(vec![listed(1, 1)]);
    assert_eq!(outputs, [delay(delayed(1, 0, 0))]);
    let outputs = story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)]));
    assert!(outputs.iter().any(|output| matches!(output, Output::Leave(_))), "{outputs:?}");
}

#[test]
fn case_02_an_entry_that_fails_alone_three_times_is_named_and_waits_ever_longer() {
    let mut story = Story::reading(1, 1);
    let mut waits = Vec::new();
    for _ in 0..6 {
        story.after(1);
        let outputs = fail_alone(&mut story);
        let named = outputs.contains(&Output::Unfetchable(of_stream(1)));
        let wait = outputs.iter().find_map(|output| match output {
            Output::Delay(_, requests) => Some(requests[0].delay),
            _ => None,
        });
        waits.push((named, wait.unwrap()));
        story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)]));
    }
    let second = Duration::from_secs(1);
    let zero = Duration::ZERO;
    let expected = [(false, zero), (false, zero), (true, second), (true, second * 2)];
    assert_eq!(waits[..4], expected);
    let counts = story.machine.counts();
    assert_eq!((counts.unfetchable, counts.oldest_unfetchable), (1, Some(id(1))));
}

#[test]
fn case_02_an_entry_that_arrives_at_last_is_no_longer_named() {
    let mut story = Story::reading(1, 1);
    for _ in 0..3 {
        story.after(1);
        fail_alone(&mut story);
        story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)]));
    }
    assert_eq!(story.machine.counts().unfetchable, 1);
    story.after(3);
    story.claimed(Pool::Delayed, vec![claimed(1, 1)]);
    assert_eq!(story.machine.counts(), Counts { unfetchable: 0, ..story.machine.counts() });
}

#[test]
fn case_02_one_of_several_entries_of_a_lost_reply_is_not_blamed() {
    let mut story = Story::reading(4, 4);
    for _ in 0..9 {
        story.on(Input::Disconnected { reading: false, cut: CLOSED });
        reconnect(&mut story);
        let outputs = story.listed(vec![listed(1, 1), listed(2, 1)]);
        assert!(!outputs.iter().any(|o| matches!(o, Output::Unfetchable(_))), "{outputs:?}");
        let done = |ms| (of_stream(ms), WriteResult::Done);
        story.on(Input::Delayed(vec![done(1), done(2)]));
    }
    assert_eq!(story.machine.counts().unfetchable, 0);
}

#[test]
fn case_02_with_order_kept_the_next_entry_is_named_and_stays_the_next_one() {
    let ordering = DeliveryOrder::Stream;
    let config = DeliveryConfig { concurrency: 1, ordering, ..DeliveryConfig::default() };
    let mut story = Story::with(config);
    let mut named = Vec::new();
    for _ in 0..3 {
        story.on(Input::Connected);
        story.heartbeat_answered(HeartbeatReport::default());
        story.on(Input::Disconnected { reading: false, cut: CLOSED });
        let outputs = reconnect(&mut story);
        assert!(matches!(outputs.as_slice(), [Output::ListPending { .. }]), "{outputs:?}");
        let outputs = story.listed(vec![listed(1, 1)]);
        assert!(!outputs.iter().any(|o| matches!(o, Output::Delay(..))), "{outputs:?}");
        named.push(outputs.contains(&Output::Unfetchable(of_stream(1))));
        story.after(2);
    }
    assert_eq!(named, [false, false, true]);
}

#[test]
fn case_02_the_first_read_of_a_stream_is_for_one_entry() {
    let mut story = Story::new(2, 4);
    story.machine.fetch.largest = None;
    story.on(Input::Connected);
    let outputs = story.heartbeat_answered(HeartbeatReport::default());
    assert_eq!((claim_count(&outputs), read_count(&outputs)), (Some(1), Some(1)));
}

#[test]
fn case_02_as_many_entries_are_read_as_fit_into_the_budget() {
    let mut story = with_budget(4_000_000, 1_000_000);
    story.on(Input::Connected);
    story.heartbeat_answered(HeartbeatReport::default());
    let outputs = story.claimed(Pool::Delayed, vec![]);
    assert_eq!(read_count(&outputs), Some(4));
}

#[test]
fn case_02_while_others_are_delayed_a_read_leaves_room_for_one_of_them() {
    let mut story = with_budget(4_000_000, 1_000_000);
    story.on(Input::Connected);
    let report = HeartbeatReport { delayed: 1, ..HeartbeatReport::default() };
    story.heartbeat_answered(report);
    let outputs = story.claimed(Pool::Delayed, vec![]);
    assert_eq!(read_count(&outputs), Some(3));
    assert_eq!(claim_count(&story.after(1)), Some(1));
}

#[test]
fn case_02_an_entry_larger_than_the_budget_is_fetched_once_nothing_is_in_flight() {
    let mut story = with_budget(1_048_576, 9_000_000);
    story.on(Input::Connected);
    story.heartbeat_answered(HeartbeatReport::default());
    story.claimed(Pool::Delayed, vec![]);
    assert_eq!(read_count(&story.read(vec![])), Some(1));
    assert_eq!(read_count(&story.read(vec![entry(1)])), None, "one is in flight");
    story.on(done(1));
    story.machine.fetch.note(9_000_000);
    let outputs = story.on(acked(1));
    assert_eq!(read_count(&outputs).or(story.machine.outstanding.read), Some(1));
}
