//! The state machine's rules, each as a short story with a literal end.

mod attempts;
mod in_order;
mod leases;
mod limits;
mod ordered;
mod outages;
mod reconnects;
mod replays;
mod settling;
mod stopping;
mod work;

use std::time::Duration;

use crate::event::{RawEntry, TypeFilter};
use crate::names::{EntryId, GroupName, StreamKey};

use super::{
    Answer, BeatReport, Burial, DeliveryConfig, EntryRef, Input, Machine, Outcome, Output, Parking,
    Pool, Settled, Source, Taken,
};

const LEASE: Duration = Duration::from_secs(30);
const DIE: f64 = 0.5;

struct Story {
    machine: Machine,
    now: Duration,
}

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

fn of_stream(ms: u64) -> EntryRef {
    EntryRef { source: Source::Stream, id: id(ms) }
}

/// An acknowledgement within the lease.
fn ack(ids: &[u64]) -> Output {
    Output::Ack { entries: ids.iter().map(|ms| of_stream(*ms)).collect(), checked: false }
}

fn acked(ms: u64) -> Input {
    Input::Acked { entries: vec![of_stream(ms)], confirmed: 1 }
}

fn park(parking: Parking) -> Output {
    Output::Park(Source::Stream, vec![parking])
}

fn take(pool: Pool, count: usize) -> Output {
    Output::Take { source: Source::Stream, pool, count }
}

fn entry(ms: u64) -> RawEntry {
    let field = |name: &str, value: &str| (name.into(), value.into());
    RawEntry { id: id(ms), fields: vec![field("type", "t"), field("payload", "{}")] }
}

fn taken(ms: u64, attempt: u32) -> Taken {
    Taken { id: id(ms), attempt, entry: Some(entry(ms)) }
}

fn done(ms: u64) -> Input {
    Input::Handled(vec![(of_stream(ms), Outcome::Answered(Answer::Done))])
}

fn retry(ms: u64) -> Input {
    let answer = Answer::Retry { after: Some(Duration::from_secs(9)), reason: "no".into() };
    Input::Handled(vec![(of_stream(ms), Outcome::Answered(answer))])
}

fn suspects() -> BeatReport {
    BeatReport { suspects: vec![Source::Stream], ..BeatReport::default() }
}

fn parked(ms: u64, attempts: u32, seconds: u64) -> Parking {
    let delay = Duration::from_secs(seconds);
    Parking { id: id(ms), attempts, delay, pool: Pool::Parked }
}

/// The entries whose handler is started, as (milliseconds of the ID, attempt).
fn started(outputs: &[Output]) -> Vec<(u64, u32)> {
    let start = |output: &Output| match output {
        Output::Start(_, delivery) => Some((delivery.event.id.ms, delivery.attempt)),
        _ => None,
    };
    outputs.iter().filter_map(start).collect()
}

fn beat_of(outputs: &[Output]) -> Option<(Vec<EntryRef>, Vec<Source>)> {
    outputs.iter().find_map(|output| match output {
        Output::Beat { entries, look, .. } => Some((entries.clone(), look.clone())),
        _ => None,
    })
}

impl Story {
    fn new(concurrency: usize, batch_size: usize) -> Self {
        Self::with(DeliveryConfig { concurrency, batch_size, ..DeliveryConfig::default() })
    }

    fn with(config: DeliveryConfig) -> Self {
        assert_eq!(config.lease, LEASE);
        let (stream, group) = (StreamKey::new("s").unwrap(), GroupName::new("g").unwrap());
        let types = TypeFilter::parse(["t"]).unwrap();
        Self { machine: Machine::new(stream, group, types, config), now: Duration::ZERO }
    }

    /// Connected, beaten, reading, with no parked entry found.
    fn reading(concurrency: usize, batch_size: usize) -> Self {
        let mut story = Self::new(concurrency, batch_size);
        story.on(Input::Connected);
        story.beaten(BeatReport::default());
        story.taken(Pool::Parked, vec![]);
        story
    }

    fn on(&mut self, input: Input) -> Vec<Output> {
        self.machine.on(input, self.now, DIE)
    }

    fn after(&mut self, seconds: u64) -> Vec<Output> {
        self.now += Duration::from_secs(seconds);
        self.on(Input::Tick)
    }

    fn read(&mut self, entries: Vec<RawEntry>) -> Vec<Output> {
        self.on(Input::Read { sent: self.now, entries })
    }

    fn taken(&mut self, pool: Pool, entries: Vec<Taken>) -> Vec<Output> {
        self.on(Input::Taken { sent: self.now, source: Source::Stream, pool, entries })
    }

    fn beaten(&mut self, report: BeatReport) -> Vec<Output> {
        self.on(Input::Beaten { sent: self.now, report })
    }
}

#[test]
fn after_connecting_a_beat_comes_before_any_reading() {
    let mut story = Story::new(2, 4);
    let outputs = story.on(Input::Connected);
    assert!(matches!(outputs.as_slice(), [Output::Beat { .. }]), "{outputs:?}");
    let outputs = story.beaten(BeatReport::default());
    let take = take(Pool::Parked, 2);
    assert_eq!(outputs, [take, Output::Read { count: 4 }]);
}

#[test]
fn an_entry_is_acknowledged_only_after_its_handler_was_done() {
    let mut story = Story::reading(2, 4);
    let outputs = story.read(vec![entry(1)]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Ack { .. })));
    assert_eq!(started(&outputs), [(1, 1)]);
    let outputs = story.on(done(1));
    assert_eq!(outputs[0], ack(&[1]));
}

#[test]
fn acknowledgements_gather_while_other_entries_are_in_hand() {
    let mut story = Story::reading(2, 4);
    story.read(vec![entry(1), entry(2)]);
    assert_eq!(story.on(done(1)), []);
    assert_eq!(story.machine.wake_at(story.now), Some(Duration::from_millis(5)));
    let outputs = story.on(done(2));
    assert_eq!(outputs[0], ack(&[1, 2]));
}

#[test]
fn no_more_handlers_run_than_there_are_workers_and_no_more_is_in_hand_than_agreed() {
    let mut story = Story::reading(2, 4);
    let outputs = story.read((1..=4).map(entry).collect());
    assert_eq!(started(&outputs), [(1, 1), (2, 1)]);
    assert_eq!(outputs.last(), Some(&Output::Start(of_stream(2), story_delivery(2))));
    assert!(outputs.contains(&Output::Read { count: 2 }), "{outputs:?}");
    let outputs = story.read((5..=6).map(entry).collect());
    assert_eq!(outputs, []);
}

fn story_delivery(ms: u64) -> std::sync::Arc<super::Delivery> {
    let mut story = Story::reading(1, 1);
    let outputs = story.read(vec![entry(ms)]);
    let start = outputs.into_iter().find_map(|output| match output {
        Output::Start(_, delivery) => Some(delivery),
        _ => None,
    });
    start.unwrap()
}

#[test]
fn a_failed_attempt_waits_in_the_pending_list_for_as_long_as_the_handler_said() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    assert_eq!(story.on(retry(1))[0], park(parked(1, 1, 9)));
}

#[test]
fn an_attempt_that_was_taken_up_again_is_counted() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    let outputs = story.taken(Pool::Parked, vec![taken(1, 3)]);
    assert_eq!(started(&outputs), [(1, 3)]);
    assert_eq!(story.on(retry(1))[0], park(parked(1, 3, 9)));
}

#[test]
fn retries_leave_half_of_the_workers_to_new_entries_that_wait() {
    let mut story = Story::reading(4, 4);
    story.read((1..=4).map(entry).collect());
    story.read((5..=8).map(entry).collect());
    story.after(1);
    for ms in 1..=3 {
        let outputs = story.on(done(ms));
        let takes = outputs.contains(&take(Pool::Parked, 1));
        assert_eq!(takes, ms == 1, "{outputs:?}");
    }
}

#[test]
fn an_entry_that_is_no_event_is_buried_without_calling_the_handler() {
    let mut story = Story::reading(1, 1);
    let fields = vec![(b"payload".to_vec(), b"{}".to_vec())];
    let outputs = story.read(vec![RawEntry { id: id(1), fields }]);
    let error = r#"the entry has no field "type""#.to_owned();
    let burial = Burial { entry: of_stream(1), attempts: 0, reason: "unreadable", error };
    assert_eq!(outputs[0], Output::Bury(burial));
    assert_eq!(started(&outputs), []);
}

#[test]
fn a_dead_letter_that_is_refused_waits_with_no_attempt_left() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    let answer = Outcome::Answered(Answer::Dead { reason: "422".into() });
    story.on(Input::Handled(vec![(of_stream(1), answer)]));
    let outputs = story.on(Input::Buried(of_stream(1), Settled::Refused));
    assert_eq!(outputs[0], park(parked(1, 5, 300)));
}

#[test]
fn an_event_of_an_unwanted_type_is_acknowledged_unseen() {
    let mut story = Story::reading(1, 1);
    let mut unwanted = entry(1);
    unwanted.fields[0].1 = b"other".to_vec();
    let outputs = story.read(vec![unwanted]);
    assert_eq!(outputs[0], ack(&[1]));
    assert_eq!(story.machine.counts().skipped, 1);
}

#[test]
fn a_beat_renews_the_lease_and_without_one_the_handler_is_cut_off_when_it_ends() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    let (ids, look) = beat_of(&story.after(10)).unwrap();
    assert_eq!((ids, look), (vec![of_stream(1)], vec![]));
    story.beaten(BeatReport::default());
    assert!(!story.after(29).contains(&Output::Cancel(of_stream(1))));
    assert!(story.after(1).contains(&Output::Cancel(of_stream(1))));
}

#[test]
fn what_belongs_to_somebody_else_by_now_is_cut_off_and_forgotten() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.after(10);
    let report = BeatReport { lost: vec![of_stream(1)], ..BeatReport::default() };
    assert_eq!(story.beaten(report)[0], Output::Cancel(of_stream(1)));
    assert_eq!(story.on(done(1)), []);
}

#[test]
fn others_entries_are_looked_for_only_after_a_whole_lease_on_one_connection() {
    let mut story = Story::reading(1, 1);
    let mut looked = Vec::new();
    for _ in 0..4 {
        looked.extend(beat_of(&story.after(10)).map(|(_, look)| look.len()));
        story.beaten(BeatReport::default());
    }
    assert_eq!(looked, [0, 0, 2, 2]);
    story.on(Input::Disconnected { reading: false });
    let (_, look) = beat_of(&story.on(Input::Connected)).unwrap();
    assert_eq!(look, []);
}

#[test]
fn a_suspect_stays_alone_over_beats_that_tell_of_no_other() {
    let mut story = Story::reading(2, 2);
    story.after(10);
    story.taken(Pool::Parked, vec![]);
    story.beaten(suspects());
    assert_eq!(story.read(vec![]), [take(Pool::Suspect, 1)]);
    // While it is on its way, and while its handler runs.
    story.after(10);
    assert_eq!(story.beaten(BeatReport::default()), []);
    assert_eq!(started(&story.taken(Pool::Suspect, vec![taken(2, 2)])), [(2, 2)]);
    story.after(10);
    assert_eq!(story.beaten(BeatReport::default()), []);
    story.on(done(2));
    assert_eq!(story.on(acked(2)), [take(Pool::Suspect, 1)]);
    let outputs = story.taken(Pool::Suspect, vec![]);
    assert!(outputs.contains(&Output::Read { count: 2 }), "{outputs:?}");
}

#[test]
fn an_unwanted_event_past_its_lease_is_acknowledged_only_where_it_is_still_ours() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Disconnected { reading: true });
    let mut unwanted = entry(1);
    unwanted.fields[0].1 = b"other".to_vec();
    story.read(vec![unwanted]);
    story.after(31);
    let outputs = story.on(Input::Connected);
    assert_eq!(outputs, [Output::Ack { entries: vec![of_stream(1)], checked: true }]);
}

#[test]
fn a_suspect_runs_alone_after_everything_in_hand_and_before_any_reading() {
    let mut story = Story::reading(2, 2);
    story.read(vec![entry(1)]);
    story.after(10);
    story.taken(Pool::Parked, vec![]);
    let outputs = story.beaten(suspects());
    assert_eq!(outputs, [], "something is in hand, and a read is outstanding");
    assert_eq!(story.read(vec![]), [], "something is in hand");
    story.on(done(1));
    let outputs = story.on(acked(1));
    assert_eq!(outputs, [take(Pool::Suspect, 1)]);
    let outputs = story.taken(Pool::Suspect, vec![taken(2, 2)]);
    assert_eq!(started(&outputs), [(2, 2)]);
    assert_eq!(outputs.len(), 1, "nothing but the suspect: {outputs:?}");
    story.on(done(2));
    story.on(acked(2));
    let outputs = story.taken(Pool::Suspect, vec![]);
    assert!(outputs.contains(&Output::Read { count: 2 }), "{outputs:?}");
}

#[test]
fn stopping_hands_back_what_no_worker_began_with_its_attempt_uncounted() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1), entry(2)]);
    assert_eq!(story.on(Input::Stop), [park(parked(2, 0, 0))]);
}

#[test]
fn stopping_finishes_acknowledges_and_leaves_last() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    assert_eq!(story.on(Input::Stop), []);
    assert_eq!(story.read(vec![]), []);
    let outputs = story.on(done(1));
    assert_eq!(outputs, [ack(&[1])]);
    let outputs = story.on(acked(1));
    assert!(matches!(outputs.as_slice(), [Output::Leave(_)]), "{outputs:?}");
    assert_eq!(story.on(Input::Left), [Output::Stopped]);
}

#[test]
fn stopping_awaits_the_outstanding_read_and_hands_back_what_it_brings() {
    let mut story = Story::reading(1, 1);
    assert_eq!(story.on(Input::Stop), []);
    assert_eq!(story.read(vec![entry(1)]), [park(parked(1, 0, 0))]);
    let outputs = story.on(Input::Parked(vec![(of_stream(1), Settled::Done)]));
    assert!(matches!(outputs.as_slice(), [Output::Leave(_)]), "{outputs:?}");
}

#[test]
fn a_call_that_the_end_of_the_grace_cuts_off_counts_as_an_attempt() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(Input::Stop);
    let outputs = story.on(Input::GraceOver);
    assert_eq!(outputs, [Output::Cancel(of_stream(1)), park(parked(1, 1, 1))]);
}

#[test]
fn too_many_parked_entries_in_the_group_pause_reading() {
    let mut story = Story::new(1, 1);
    story.on(Input::Connected);
    let outputs = story.beaten(BeatReport { parked: 10_000, ..BeatReport::default() });
    assert!(!outputs.iter().any(|output| matches!(output, Output::Read { .. })), "{outputs:?}");
}

#[test]
fn an_entry_that_was_trimmed_while_it_waited_is_counted_as_lost() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    story.taken(Pool::Parked, vec![Taken { id: id(1), attempt: 2, entry: None }]);
    assert_eq!(story.machine.counts().lost, 1);
}

#[test]
fn an_unwanted_event_beside_a_slow_handler_is_acknowledged_within_milliseconds() {
    let mut story = Story::reading(2, 4);
    let mut unwanted = entry(2);
    unwanted.fields[0].1 = b"other".to_vec();
    story.read(vec![entry(1), unwanted]);
    story.now = story.machine.wake_at(story.now).unwrap();
    assert_eq!(story.now, Duration::from_millis(5));
    let outputs = story.on(Input::Tick);
    assert_eq!(outputs, [ack(&[2])]);
}

#[test]
fn an_unreadable_entry_of_an_unwanted_type_is_somebody_elses_to_bury() {
    let mut story = Story::reading(1, 1);
    let field = |name: &str, value: &str| (name.into(), value.into());
    let fields = vec![field("type", "other"), field("payload", "{broken")];
    let outputs = story.read(vec![RawEntry { id: id(1), fields }]);
    assert_eq!(outputs[0], ack(&[1]));
}

#[test]
fn a_suspect_that_is_handed_back_stays_a_suspect() {
    let mut story = Story::reading(1, 1);
    story.read(vec![]);
    story.after(10);
    story.taken(Pool::Parked, vec![]);
    story.beaten(suspects());
    story.read(vec![]);
    story.on(Input::Stop);
    let outputs = story.taken(Pool::Suspect, vec![taken(1, 2)]);
    assert_eq!(outputs, [park(Parking { pool: Pool::Suspect, ..parked(1, 1, 0) })]);
    let outputs = story.on(Input::Parked(vec![(of_stream(1), Settled::Done)]));
    assert!(matches!(outputs.as_slice(), [Output::Leave(_)]), "{outputs:?}");
}

#[test]
fn an_entry_that_was_trimmed_while_in_hand_is_told_and_counted_as_lost() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(retry(1));
    let outputs = story.on(Input::Parked(vec![(of_stream(1), Settled::Trimmed)]));
    assert_eq!(outputs[0], Output::Trimmed(of_stream(1)));
    assert_eq!((story.machine.counts().lost, story.machine.counts().in_flight), (1, 0));
    story.after(10);
    story.beaten(BeatReport { trimmed: 2, ..BeatReport::default() });
    assert_eq!(story.machine.counts().lost, 3);
}

#[test]
fn an_entry_that_comes_again_while_its_handler_runs_keeps_the_higher_attempt() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.after(1);
    story.taken(Pool::Parked, vec![taken(1, 3)]);
    assert_eq!(story.on(retry(1))[0], park(parked(1, 3, 9)));
}

#[test]
fn what_falls_due_after_the_last_input_is_not_missed() {
    let mut story = Story::reading(2, 4);
    story.read(vec![entry(1), entry(2)]);
    story.on(done(1));
    story.now = Duration::from_micros(4_990);
    story.on(Input::Tick);
    assert_eq!(story.machine.wake_at(story.now), Some(Duration::from_millis(5)));
}
