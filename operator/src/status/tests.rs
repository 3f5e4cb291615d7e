use eventbus::observe::{DeadLetterFacts, Heartbeat};

use crate::observed::Trouble;
use crate::testing::{deployed, observed, seen, wanted};

use super::*;

fn built(
    observed: &Observed,
    previous: Option<&EventConsumerGroupStatus>,
) -> EventConsumerGroupStatus {
    let input = Input {
        observed,
        origin: None,
        failures: &Failures::default(),
        target_hash: "hash",
        previous,
        now: Timestamp::from_millisecond(1_234_567).unwrap(),
    };
    build(&wanted(), &input)
}

fn running(change: impl Fn(&mut GroupView)) -> Observed {
    let RedisView::Seen(mut view) = seen(Some(3)) else { unreachable!() };
    change(&mut view);
    Observed { deployment: deployed(&wanted(), 2), ..observed(RedisView::Seen(view)) }
}

fn group(view: &mut GroupView) -> &mut GroupFacts {
    view.group.as_mut().unwrap()
}

fn consumer_named(name: &str, pending: u64, heartbeat: Option<Heartbeat>) -> ConsumerFacts {
    ConsumerFacts { name: name.into(), pending, idle: Duration::from_millis(2_400), heartbeat }
}

#[test]
fn the_numbers_of_the_group_stand_in_the_status() {
    let status = built(
        &running(|view| {
            let group = group(view);
            (group.pending, group.delayed) = (4, 1);
            group.oldest_pending = Some(EntryId { ms: 5_500, seq: 1 });
            group.oldest_undelivered = Some(EntryId { ms: 7_000, seq: 0 });
            group.dead_letters = Some(DeadLetterFacts { length: 2, replays: 1, last_ms: None });
        }),
        None,
    );
    assert_eq!((status.lag, status.pending, status.retrying), (Some(3), Some(4), Some(1)));
    assert_eq!(status.backlog, Some(8));
    let display = status.display.unwrap();
    assert_eq!((display.lag.as_deref(), display.replicas.as_deref()), (Some("3"), Some("2/2")));
    let second = |second| Some(Time(Timestamp::from_second(second).unwrap()));
    assert_eq!(status.oldest_unprocessed_time, second(5));
    assert_eq!(status.oldest_undelivered_time, second(7));
    assert_eq!(status.dead_letter.unwrap().length, Some(2));
}

#[test]
fn the_resume_point_is_just_before_the_oldest_pending_entry() {
    let status =
        built(&running(|v| group(v).oldest_pending = Some(EntryId { ms: 4, seq: 0 })), None);
    let position = status.position.unwrap();
    assert_eq!(position.resume_id.as_deref(), Some("3-18446744073709551615"));
    assert_eq!(position.last_delivered_id.as_deref(), Some("6-0"));
    let nothing_pending = built(&running(|_| ()), None).position.unwrap();
    assert_eq!(nothing_pending.resume_id.as_deref(), Some("6-0"));
}

#[test]
fn an_unreachable_redis_leaves_the_numbers_out_and_the_position_in() {
    let before = built(&running(|_| ()), None);
    let trouble = RedisView::Trouble(Trouble::Unreachable("down".into()));
    let away = Observed { deployment: deployed(&wanted(), 2), ..observed(trouble) };
    let status = built(&away, Some(&before));
    assert_eq!((status.lag, status.pending, status.backlog), (None, None, None));
    assert_eq!(status.display.unwrap().lag.as_deref(), Some("?"));
    assert_eq!(status.oldest_unprocessed_time, None);
    assert_eq!(status.position, before.position);
    assert_eq!(status.ready_replicas, Some(2));
}

#[test]
fn a_group_that_is_missing_keeps_its_position_until_it_is_there_again() {
    let before = built(&running(|_| {}), None);
    let missing = Observed { deployment: deployed(&wanted(), 2), ..observed(seen(None)) };
    let status = built(&missing, Some(&before));
    assert_eq!(status.position, before.position);
    assert_eq!(status.lag, None);
}

#[test]
fn what_was_known_of_another_redis_is_told_until_the_new_one_answers_and_not_afterwards() {
    let mut before = built(&running(|_| {}), None);
    before.group_origin = Some(GroupOrigin::Created);
    before.redis.as_mut().unwrap().target_hash = Some("another".into());
    let trouble = observed(RedisView::Trouble(Trouble::Unreachable("away".into())));
    let away = built(&trouble, Some(&before));
    assert_eq!(away.last_check, before.last_check);
    assert_eq!((recorded_hash(&away), &away.position), (Some("another"), &before.position));
    let answered = built(&observed(seen(None)), Some(&away));
    assert_eq!((recorded_hash(&answered), &answered.position), (Some("hash"), &None));
    assert_eq!(answered.group_origin, None);
}

#[test]
fn an_entry_id_in_the_future_is_no_negative_age() {
    let status = built(
        &running(|view| {
            group(view).oldest_undelivered = Some(EntryId { ms: 900_000_000, seq: 0 });
        }),
        None,
    );
    let now = Some(Time(Timestamp::from_second(100).unwrap()));
    assert_eq!(status.oldest_unprocessed_time, now);
}

#[test]
fn consumers_are_live_or_stale_and_the_busiest_come_first() {
    let heartbeat = Heartbeat { at_ms: 99_000, lease: Duration::from_secs(30) };
    let status = built(
        &running(|view| {
            group(view).consumers = vec![
                consumer_named("foreign", 0, None),
                consumer_named("pod-1/0a", 7, Some(heartbeat)),
            ];
        }),
        None,
    );
    let consumers = status.consumers.unwrap();
    assert_eq!((consumers.total, consumers.live, consumers.stale), (2, 1, 1));
    let first = &consumers.items[0];
    assert_eq!((&*first.name, first.pod.as_deref()), ("pod-1/0a", Some("pod-1")));
    assert_eq!(first.idle.as_deref(), Some("2s"));
    assert_eq!(consumers.items[1].pod, None);
}

#[test]
fn times_and_idle_alone_are_no_difference() {
    let with_idle = |ms| {
        running(|view| {
            group(view).consumers = vec![consumer_named("c", 0, None)];
            group(view).consumers[0].idle = Duration::from_millis(ms);
        })
    };
    let (old, mut new) = (built(&with_idle(1_000), None), built(&with_idle(9_000), None));
    new.last_check = Some(Time(Timestamp::from_second(99).unwrap()));
    new.position.as_mut().unwrap().recorded_at = None;
    assert!(!differs(&old, &new));
    new.pending = Some(1);
    assert!(differs(&old, &new));
}

#[test]
fn a_status_reads_back_as_it_was_written() {
    let status = built(&running(|_| ()), None);
    let text = serde_json::to_string(&status).unwrap();
    let read: EventConsumerGroupStatus = serde_json::from_str(&text).unwrap();
    assert_eq!(read, status);
}

#[test]
fn the_loser_of_a_conflict_reports_no_numbers() {
    let observed =
        Observed { claim: Claim::Other { name: Some("older".into()) }, ..running(|_| ()) };
    let status = built(&observed, None);
    assert_eq!(status.conflicts_with.as_deref(), Some("older"));
    assert_eq!((status.lag, status.pending, status.group_origin), (None, None, None));
    assert_eq!(status.display.unwrap().replicas.as_deref(), Some("2/0"));
}

#[test]
fn a_refused_resource_keeps_what_was_known_of_its_group() {
    let before = built(&running(|_| ()), None);
    let refusal = Refusal { reason: "NotYetSupported", message: "scaling".into() };
    let deployment = deployed(&wanted(), 2);
    let now = Timestamp::from_second(9).unwrap();
    let status = refused(&wanted().resource, &refusal, &deployment, Some(&before), now);
    assert_eq!(ready(&status).unwrap().reason, "NotYetSupported");
    assert_eq!(status.position, before.position);
    assert_eq!(status.display.unwrap().replicas.as_deref(), Some("2/2"));
}

#[test]
fn an_entry_id_that_is_no_time_gives_no_time() {
    assert_eq!(time_of(EntryId::MAX), None);
}
