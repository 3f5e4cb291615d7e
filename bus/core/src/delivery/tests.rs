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
mod unreceived;
mod work;

use std::time::Duration;

use crate::event::{RawEntry, TypeFilter};
use crate::names::{EntryId, GroupName, StreamKey};

use super::{
    Answer, Claimed, DeadLetter, DelayRequest, DeliveryConfig, EntryRef, HeartbeatReport, Input,
    Machine, Moment, Outcome, Output, PendingEntry, Pool, Source, WriteResult,
};

const LEASE: Duration = Duration::from_secs(30);
const RANDOM: f64 = 0.5;

struct Story {
    machine: Machine,
    now: Moment,
}

/// The moment so long after the start.
fn at(since_start: Duration) -> Moment {
    Moment::START + since_start
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

fn delay(request: DelayRequest) -> Output {
    Output::Delay(Source::Stream, vec![request])
}

fn claim(pool: Pool, count: usize) -> Output {
    Output::Claim { source: Source::Stream, pool, count }
}

fn entry(ms: u64) -> RawEntry {
    let field = |name: &str, value: &str| (name.into(), value.into());
    RawEntry { id: id(ms), fields: vec![field("type", "t"), field("payload", "{}")] }
}

fn claimed(ms: u64, attempt: u32) -> Claimed {
    Claimed { id: id(ms), attempt, entry: Some(entry(ms)) }
}

fn done(ms: u64) -> Input {
    Input::Handled(vec![(of_stream(ms), Outcome::Answered(Answer::Done))])
}

fn retry(ms: u64) -> Input {
    let answer = Answer::Retry { after: Some(Duration::from_secs(9)), reason: "no".into() };
    Input::Handled(vec![(of_stream(ms), Outcome::Answered(answer))])
}

fn suspects() -> HeartbeatReport {
    HeartbeatReport { suspects: vec![Source::Stream], ..HeartbeatReport::default() }
}

fn delayed(ms: u64, attempts: u32, seconds: u64) -> DelayRequest {
    let delay = Duration::from_secs(seconds);
    DelayRequest { id: id(ms), attempts, delay, pool: Pool::Delayed }
}

/// The entries whose handler is started, as (milliseconds of the ID, attempt).
fn started(outputs: &[Output]) -> Vec<(u64, u32)> {
    let start = |output: &Output| match output {
        Output::Start(_, delivery) => Some((delivery.event.id().ms, delivery.attempt)),
        _ => None,
    };
    outputs.iter().filter_map(start).collect()
}

fn heartbeat_of(outputs: &[Output]) -> Option<(Vec<EntryRef>, Vec<Source>)> {
    outputs.iter().find_map(|output| match output {
        Output::Heartbeat { entries, search, .. } => Some((entries.clone(), search.clone())),
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
        let mut machine = Machine::new(stream, group, types, config);
        // Some entry was fetched before, so that full batches are asked for.
        machine.fetch.note(1);
        Self { machine, now: Moment::START }
    }

    /// Connected, with a heartbeat, reading, with no delayed entry found.
    fn reading(concurrency: usize, batch_size: usize) -> Self {
        let mut story = Self::new(concurrency, batch_size);
        story.on(Input::Connected);
        story.heartbeat_answered(HeartbeatReport::default());
        story.claimed(Pool::Delayed, vec![]);
        story
    }

    fn on(&mut self, input: Input) -> Vec<Output> {
        self.machine.on(input, self.now, RANDOM)
    }

    /// The time from the start at which the next tick is due.
    fn due_at(&self) -> Option<Duration> {
        self.machine.due_at(self.now).map(|moment| moment - Moment::START)
    }

    fn after(&mut self, seconds: u64) -> Vec<Output> {
        self.now += Duration::from_secs(seconds);
        self.on(Input::Tick)
    }

    fn read(&mut self, entries: Vec<RawEntry>) -> Vec<Output> {
        self.on(Input::Read { sent: self.now, entries })
    }

    fn claimed(&mut self, pool: Pool, entries: Vec<Claimed>) -> Vec<Output> {
        self.on(Input::Claimed { sent: self.now, source: Source::Stream, pool, entries })
    }

    fn listed(&mut self, entries: Vec<PendingEntry>) -> Vec<Output> {
        self.on(Input::Pending { source: Source::Stream, entries })
    }

    fn heartbeat_answered(&mut self, report: HeartbeatReport) -> Vec<Output> {
        self.on(Input::Heartbeat { sent: self.now, report })
    }
}

#[test]
fn after_connecting_a_heartbeat_comes_before_any_reading() {
    let mut story = Story::new(2, 4);
    let outputs = story.on(Input::Connected);
    assert!(matches!(outputs.as_slice(), [Output::Heartbeat { .. }]), "{outputs:?}");
    let outputs = story.heartbeat_answered(HeartbeatReport::default());
    let claim = claim(Pool::Delayed, 2);
    assert_eq!(outputs, [claim, Output::Read { count: 4 }]);
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
fn acknowledgements_gather_while_other_entries_are_in_flight() {
    let mut story = Story::reading(2, 4);
    story.read(vec![entry(1), entry(2)]);
    assert_eq!(story.on(done(1)), []);
    assert_eq!(story.due_at(), Some(Duration::from_millis(5)));
    let outputs = story.on(done(2));
    assert_eq!(outputs[0], ack(&[1, 2]));
}

#[test]
fn no_more_handlers_run_than_there_are_workers_and_no_more_is_in_flight_than_agreed() {
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
    assert_eq!(story.on(retry(1))[0], delay(delayed(1, 1, 9)));
}

#[test]
fn an_attempt_that_was_claimed_up_again_is_counted() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    let outputs = story.claimed(Pool::Delayed, vec![claimed(1, 3)]);
    assert_eq!(started(&outputs), [(1, 3)]);
    assert_eq!(story.on(retry(1))[0], delay(delayed(1, 3, 9)));
}

#[test]
fn retries_leave_half_of_the_workers_to_new_entries_that_wait() {
    let mut story = Story::reading(4, 4);
    story.read((1..=4).map(entry).collect());
    story.read((5..=8).map(entry).collect());
    story.after(1);
    for ms in 1..=3 {
        let outputs = story.on(done(ms));
        let claims = outputs.contains(&claim(Pool::Delayed, 1));
        assert_eq!(claims, ms == 1, "{outputs:?}");
    }
}

#[test]
fn an_entry_that_is_no_event_is_dead_lettered_without_calling_the_handler() {
    let mut story = Story::reading(1, 1);
    let fields = vec![(b"payload".to_vec(), b"{}".to_vec())];
    let outputs = story.read(vec![RawEntry { id: id(1), fields }]);
    let error = r#"the entry has no field "type""#.to_owned();
    let letter = DeadLetter { entry: of_stream(1), attempts: 0, reason: "unreadable", error };
    assert_eq!(outputs[0], Output::DeadLetter(letter));
    assert_eq!(started(&outputs), []);
}

#[test]
fn a_dead_letter_that_is_refused_waits_with_no_attempt_left() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    let answer = Outcome::Answered(Answer::Dead { reason: "422".into() });
    story.on(Input::Handled(vec![(of_stream(1), answer)]));
    let outputs = story.on(Input::DeadLettered(of_stream(1), WriteResult::Refused));
    assert_eq!(outputs[0], delay(delayed(1, 5, 300)));
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
fn a_heartbeat_renews_the_lease_and_without_one_the_handler_is_cut_off_when_it_ends() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    let (ids, search) = heartbeat_of(&story.after(10)).unwrap();
    assert_eq!((ids, search), (vec![of_stream(1)], vec![]));
    story.heartbeat_answered(HeartbeatReport::default());
    assert!(!story.after(29).contains(&Output::Cancel(of_stream(1))));
    assert!(story.after(1).contains(&Output::Cancel(of_stream(1))));
}

#[test]
fn an_entry_that_another_consumer_holds_by_now_is_cut_off_and_forgotten() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.after(10);
    let report = HeartbeatReport { lost: vec![of_stream(1)], ..HeartbeatReport::default() };
    assert_eq!(story.heartbeat_answered(report)[0], Output::Cancel(of_stream(1)));
    assert_eq!(story.on(done(1)), []);
}

#[test]
fn abandoned_entries_are_searched_only_after_a_whole_lease_on_one_connection() {
    let mut story = Story::reading(1, 1);
    let mut searched = Vec::new();
    for _ in 0..4 {
        searched.extend(heartbeat_of(&story.after(10)).map(|(_, search)| search.len()));
        story.heartbeat_answered(HeartbeatReport::default());
    }
    assert_eq!(searched, [0, 0, 2, 2]);
    story.on(Input::Disconnected { reading: false, cut: None });
    let (_, search) = heartbeat_of(&story.on(Input::Connected)).unwrap();
    assert_eq!(search, []);
}

#[test]
fn a_suspect_stays_alone_over_heartbeats_that_report_no_other() {
    let mut story = Story::reading(2, 2);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    story.heartbeat_answered(suspects());
    assert_eq!(story.read(vec![]), [claim(Pool::Suspect, 1)]);
    // While it is on its way, and while its handler runs.
    story.after(10);
    assert_eq!(story.heartbeat_answered(HeartbeatReport::default()), []);
    assert_eq!(started(&story.claimed(Pool::Suspect, vec![claimed(2, 2)])), [(2, 2)]);
    story.after(10);
    assert_eq!(story.heartbeat_answered(HeartbeatReport::default()), []);
    story.on(done(2));
    assert_eq!(story.on(acked(2)), [claim(Pool::Suspect, 1)]);
    let outputs = story.claimed(Pool::Suspect, vec![]);
    assert!(outputs.contains(&Output::Read { count: 2 }), "{outputs:?}");
}

#[test]
fn an_unwanted_event_past_its_lease_is_acknowledged_only_where_it_is_still_ours() {
    let mut story = Story::reading(1, 1);
    story.on(Input::Disconnected { reading: true, cut: None });
    let mut unwanted = entry(1);
    unwanted.fields[0].1 = b"other".to_vec();
    story.read(vec![unwanted]);
    story.after(31);
    let outputs = story.on(Input::Connected);
    assert_eq!(outputs, [Output::Ack { entries: vec![of_stream(1)], checked: true }]);
}

#[test]
fn a_suspect_runs_alone_after_everything_in_flight_and_before_any_reading() {
    let mut story = Story::reading(2, 2);
    story.read(vec![entry(1)]);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    let outputs = story.heartbeat_answered(suspects());
    assert_eq!(outputs, [], "something is in flight, and a read is outstanding");
    assert_eq!(story.read(vec![]), [], "something is in flight");
    story.on(done(1));
    let outputs = story.on(acked(1));
    assert_eq!(outputs, [claim(Pool::Suspect, 1)]);
    let outputs = story.claimed(Pool::Suspect, vec![claimed(2, 2)]);
    assert_eq!(started(&outputs), [(2, 2)]);
    assert_eq!(outputs.len(), 1, "nothing but the suspect: {outputs:?}");
    story.on(done(2));
    story.on(acked(2));
    let outputs = story.claimed(Pool::Suspect, vec![]);
    assert!(outputs.contains(&Output::Read { count: 2 }), "{outputs:?}");
}

#[test]
fn stopping_releases_what_no_worker_began_with_its_attempt_uncounted() {
    let mut story = Story::reading(1, 2);
    story.read(vec![entry(1), entry(2)]);
    assert_eq!(story.on(Input::Stop), [delay(delayed(2, 0, 0))]);
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
fn stopping_awaits_the_outstanding_read_and_releases_its_entries() {
    let mut story = Story::reading(1, 1);
    assert_eq!(story.on(Input::Stop), []);
    assert_eq!(story.read(vec![entry(1)]), [delay(delayed(1, 0, 0))]);
    let outputs = story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)]));
    assert!(matches!(outputs.as_slice(), [Output::Leave(_)]), "{outputs:?}");
}

#[test]
fn a_call_that_the_end_of_the_grace_cuts_off_counts_as_an_attempt() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(Input::Stop);
    let outputs = story.on(Input::GraceOver);
    assert_eq!(outputs, [Output::Cancel(of_stream(1)), delay(delayed(1, 1, 1))]);
}

#[test]
fn too_many_delayed_entries_in_the_group_pause_reading() {
    let mut story = Story::new(1, 1);
    story.on(Input::Connected);
    let outputs =
        story.heartbeat_answered(HeartbeatReport { delayed: 10_000, ..HeartbeatReport::default() });
    assert!(!outputs.iter().any(|output| matches!(output, Output::Read { .. })), "{outputs:?}");
}

#[test]
fn an_entry_that_was_trimmed_while_it_waited_is_counted_as_lost() {
    let mut story = Story::reading(1, 1);
    story.after(1);
    story.claimed(Pool::Delayed, vec![Claimed { id: id(1), attempt: 2, entry: None }]);
    assert_eq!(story.machine.counts().lost, 1);
}

#[test]
fn an_unwanted_event_beside_a_slow_handler_is_acknowledged_within_milliseconds() {
    let mut story = Story::reading(2, 4);
    let mut unwanted = entry(2);
    unwanted.fields[0].1 = b"other".to_vec();
    story.read(vec![entry(1), unwanted]);
    assert_eq!(story.due_at(), Some(Duration::from_millis(5)));
    story.now = at(Duration::from_millis(5));
    let outputs = story.on(Input::Tick);
    assert_eq!(outputs, [ack(&[2])]);
}

#[test]
fn an_unreadable_entry_of_an_unwanted_type_is_left_to_other_groups() {
    let mut story = Story::reading(1, 1);
    let field = |name: &str, value: &str| (name.into(), value.into());
    let fields = vec![field("type", "other"), field("payload", "{broken")];
    let outputs = story.read(vec![RawEntry { id: id(1), fields }]);
    assert_eq!(outputs[0], ack(&[1]));
}

#[test]
fn a_suspect_that_is_released_stays_a_suspect() {
    let mut story = Story::reading(1, 1);
    story.read(vec![]);
    story.after(10);
    story.claimed(Pool::Delayed, vec![]);
    story.heartbeat_answered(suspects());
    story.read(vec![]);
    story.on(Input::Stop);
    let outputs = story.claimed(Pool::Suspect, vec![claimed(1, 2)]);
    assert_eq!(outputs, [delay(DelayRequest { pool: Pool::Suspect, ..delayed(1, 1, 0) })]);
    let outputs = story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Done)]));
    assert!(matches!(outputs.as_slice(), [Output::Leave(_)]), "{outputs:?}");
}

#[test]
fn an_entry_that_was_trimmed_while_in_flight_is_reported_and_counted_as_lost() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.on(retry(1));
    let outputs = story.on(Input::Delayed(vec![(of_stream(1), WriteResult::Trimmed)]));
    assert_eq!(outputs[0], Output::Trimmed(of_stream(1)));
    assert_eq!((story.machine.counts().lost, story.machine.counts().in_flight), (1, 0));
    story.after(10);
    story.heartbeat_answered(HeartbeatReport { trimmed: 2, ..HeartbeatReport::default() });
    assert_eq!(story.machine.counts().lost, 3);
}

#[test]
fn an_entry_that_comes_again_while_its_handler_runs_keeps_the_higher_attempt() {
    let mut story = Story::reading(1, 1);
    story.read(vec![entry(1)]);
    story.after(1);
    story.claimed(Pool::Delayed, vec![claimed(1, 3)]);
    assert_eq!(story.on(retry(1))[0], delay(delayed(1, 3, 9)));
}

#[test]
fn what_falls_due_after_the_last_input_is_not_missed() {
    let mut story = Story::reading(2, 4);
    story.read(vec![entry(1), entry(2)]);
    story.on(done(1));
    story.now = at(Duration::from_micros(4_990));
    story.on(Input::Tick);
    assert_eq!(story.due_at(), Some(Duration::from_millis(5)));
}
