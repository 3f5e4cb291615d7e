//! Dead letters that somebody asked to have handled again.

use crate::delivery::Source;

use super::{
    Answer, Claimed, DeadLetter, EntryRef, HeartbeatReport, Input, Outcome, Output, Pool, Story,
    ack, acked, delayed, done, entry, id, started,
};

fn replay(ms: u64) -> EntryRef {
    EntryRef { source: Source::DeadLetters, id: id(ms) }
}

/// A dead letter of the stream's entry 7-0.
fn dead_letter(ms: u64, attempt: u32) -> Claimed {
    let mut entry = entry(ms);
    entry.fields.push((b"dlq.id".to_vec(), b"7-0".to_vec()));
    entry.fields.push((b"dlq.reason".to_vec(), b"rejected".to_vec()));
    Claimed { id: id(ms), attempt, entry: Some(entry) }
}

fn replayed(story: &mut Story, entries: Vec<Claimed>) -> Vec<Output> {
    let (source, pool) = (Source::DeadLetters, Pool::Delayed);
    story.on(Input::Claimed { sent: story.now, source, pool, entries })
}

/// With a heartbeat that told of a replay.
fn with_report() -> (Story, Vec<Output>) {
    let mut story = Story::reading(2, 2);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    let outputs =
        story.heartbeat_answered(HeartbeatReport { replays: 1, ..HeartbeatReport::default() });
    (story, outputs)
}

const CLAIM: Output = Output::Claim { source: Source::DeadLetters, pool: Pool::Delayed, count: 2 };

#[test]
fn replays_are_claimed_once_a_heartbeat_reports_them() {
    let (_, outputs) = with_report();
    assert!(outputs.contains(&CLAIM), "{outputs:?}");
    let mut story = Story::reading(2, 2);
    assert!(!story.after(100).contains(&CLAIM), "without being told");
}

#[test]
fn a_replay_is_the_original_event_whatever_types_are_wanted() {
    let (mut story, _) = with_report();
    let mut letter = dead_letter(9, 1);
    letter.entry.as_mut().unwrap().fields[0].1 = b"unwanted".to_vec();
    let outputs = replayed(&mut story, vec![letter]);
    let Output::Start(place, delivery) = &outputs[0] else {
        panic!("{outputs:?}");
    };
    assert_eq!(*place, replay(9));
    assert_eq!((delivery.event.id(), delivery.event.event_id()), (id(7), "s/7-0"));
    assert_eq!((delivery.attempt, delivery.replay), (1, true));
    assert_eq!(delivery.event.extra().len(), 0);
}

#[test]
fn a_replay_that_is_done_is_acknowledged_only_if_the_consumer_still_holds_it() {
    let (mut story, _) = with_report();
    replayed(&mut story, vec![dead_letter(9, 1)]);
    let outcome = Outcome::Answered(Answer::Done);
    let outputs = story.on(Input::Handled(vec![(replay(9), outcome)]));
    assert_eq!(outputs[0], Output::Ack { entries: vec![replay(9)], checked: true });
}

#[test]
fn a_replay_that_fails_waits_where_it_lies_and_is_dead_lettered_after_its_last_attempt() {
    let (mut story, _) = with_report();
    replayed(&mut story, vec![dead_letter(9, 1), dead_letter(10, 5)]);
    let fail = |ms| {
        (
            replay(ms),
            Outcome::Answered(Answer::Retry {
                after: Some(std::time::Duration::from_secs(9)),
                reason: "no".into(),
            }),
        )
    };
    let outputs = story.on(Input::Handled(vec![fail(9), fail(10)]));
    let (reason, error) = ("exhausted", "no".to_owned());
    let letter = DeadLetter { entry: replay(10), attempts: 5, reason, error };
    assert_eq!(outputs[0], Output::DeadLetter(letter));
    assert_eq!(outputs[1], Output::Delay(Source::DeadLetters, vec![delayed(9, 1, 9)]));
}

#[test]
fn an_event_and_a_replay_of_the_same_entry_id_are_two() {
    let (mut story, _) = with_report();
    let outputs = replayed(&mut story, vec![dead_letter(9, 1)]);
    assert!(matches!(outputs[0], Output::Start(place, _) if place == replay(9)), "{outputs:?}");
    assert_eq!(started(&story.read(vec![entry(9)])), [(9, 1)]);
    story.on(done(9));
    assert_eq!(story.machine.counts().in_flight, 2);
    story.on(acked(9));
    assert_eq!(story.machine.counts().in_flight, 1);
}

#[test]
fn retries_and_replays_take_turns() {
    let (mut story, _) = with_report();
    let mut claimed = vec![Source::DeadLetters];
    let mut outputs = replayed(&mut story, vec![]);
    for _ in 0..3 {
        story.now += std::time::Duration::from_secs(1);
        outputs.extend(story.on(Input::Tick));
        let source = outputs.iter().find_map(|output| match output {
            Output::Claim { source, .. } => Some(*source),
            _ => None,
        });
        let source = source.unwrap();
        claimed.push(source);
        outputs = story.on(Input::Claimed {
            sent: story.now,
            source,
            pool: Pool::Delayed,
            entries: vec![],
        });
    }
    let (replays, retries) = (Source::DeadLetters, Source::Stream);
    assert_eq!(claimed, [replays, retries, replays, retries]);
}

#[test]
fn an_acknowledgement_of_the_stream_does_not_carry_replays() {
    let (mut story, _) = with_report();
    story.read(vec![entry(1)]);
    replayed(&mut story, vec![dead_letter(9, 1)]);
    let outcome = Outcome::Answered(Answer::Done);
    story.on(done(1));
    let outputs = story.on(Input::Handled(vec![(replay(9), outcome)]));
    let expected = [ack(&[1]), Output::Ack { entries: vec![replay(9)], checked: true }];
    assert_eq!(outputs[..2], expected);
}
