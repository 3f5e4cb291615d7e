use eventbus::observe::{DeadLetterFacts, Heartbeat};

use crate::reconcile::plan;
use crate::redis::state::ReadFailure;
use crate::testing::{after, changed, deployed, desired, observed, read};

use super::*;

fn built(observed: &Observed, last: Option<&EventConsumerGroupStatus>) -> EventConsumerGroupStatus {
    let plan = plan::decide(&desired(), observed, last);
    let now = Timestamp::from_millisecond(1_234_567).unwrap();
    build(&desired(), &after(observed.clone()), &plan, last, now)
}

fn running(change: impl Fn(&mut GroupFacts)) -> Observed {
    let redis = changed(read(Some(3)), |stream, _| change(stream.groups.get_mut("g").unwrap()));
    Observed { deployment: deployed(&desired(), 2), ..observed(redis) }
}

fn consumer_named(name: &str, pending: u64, heartbeat: Option<Heartbeat>) -> ConsumerFacts {
    ConsumerFacts { name: name.into(), pending, idle: Duration::from_millis(2_400), heartbeat }
}

#[test]
fn the_status_has_the_numbers_of_the_group() {
    let status = built(
        &running(|group| {
            (group.pending, group.delayed) = (4, 1);
            group.oldest_pending = Some(EntryId { ms: 5_500, seq: 1 });
            group.oldest_undelivered = Some(EntryId { ms: 7_000, seq: 0 });
            group.dead_letters =
                Some(DeadLetterFacts { length: 2, replays: 1, last_ms: None, dropped: Some(7) });
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
    let letters = status.dead_letter.unwrap();
    assert_eq!((letters.length, letters.dropped), (Some(2), Some(7)));
}

#[test]
fn the_resume_point_is_just_before_the_oldest_pending_entry() {
    let status =
        built(&running(|group| group.oldest_pending = Some(EntryId { ms: 4, seq: 0 })), None);
    let position = status.position.unwrap();
    assert_eq!(position.resume_id.as_deref(), Some("3-18446744073709551615"));
    assert_eq!(position.last_delivered_id.as_deref(), Some("6-0"));
    let nothing_pending = built(&running(|_| ()), None).position.unwrap();
    assert_eq!(nothing_pending.resume_id.as_deref(), Some("6-0"));
}

#[test]
fn an_unreachable_redis_leaves_the_numbers_out_and_the_position_in() {
    let before = built(&running(|_| ()), None);
    let failed = RedisState::Failed(ReadFailure::Unreachable("down".into()));
    let outage = Observed { deployment: deployed(&desired(), 2), ..observed(failed) };
    let status = built(&outage, Some(&before));
    assert_eq!((status.lag, status.pending, status.backlog), (None, None, None));
    assert_eq!(status.display.unwrap().lag.as_deref(), Some("?"));
    assert_eq!(status.oldest_unprocessed_time, None);
    assert_eq!(status.position, before.position);
    assert_eq!(status.ready_replicas, Some(2));
}

#[test]
fn a_missing_group_keeps_its_position_until_it_is_recreated() {
    let before = built(&running(|_| {}), None);
    let missing = Observed { deployment: deployed(&desired(), 2), ..observed(read(None)) };
    let status = built(&missing, Some(&before));
    assert_eq!(status.position, before.position);
    assert_eq!(status.lag, None);
}

#[test]
fn numbers_of_another_server_are_kept_until_the_new_one_responds() {
    let mut before = built(&running(|_| {}), None);
    before.group_origin = Some(eventbus_api::GroupOrigin::Created);
    before.redis.as_mut().unwrap().target_hash = Some("another".into());
    let unreachable = observed(RedisState::Failed(ReadFailure::Unreachable("outage".into())));
    let outage = built(&unreachable, Some(&before));
    assert_eq!(outage.last_check, before.last_check);
    assert_eq!((outage.target_hash(), &outage.position), (Some("another"), &before.position));
    let answered = built(&observed(read(None)), Some(&outage));
    assert_eq!((answered.target_hash(), &answered.position), (Some("hash"), &None));
    assert_eq!(answered.group_origin, None);
}

#[test]
fn an_entry_id_in_the_future_is_no_negative_age() {
    let status = built(
        &running(|group| {
            group.oldest_undelivered = Some(EntryId { ms: 900_000_000, seq: 0 });
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
        &running(|group| {
            group.consumers = vec![
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
fn a_status_reads_back_as_it_was_written() {
    let status = built(&running(|_| ()), None);
    let text = serde_json::to_string(&status).unwrap();
    let read: EventConsumerGroupStatus = serde_json::from_str(&text).unwrap();
    assert_eq!(read, status);
}

#[test]
fn a_resource_in_conflict_reports_no_numbers() {
    let observed =
        Observed { claim: Claim::Other { name: Some("older".into()) }, ..running(|_| ()) };
    let status = built(&observed, None);
    assert_eq!(status.conflicts_with.as_deref(), Some("older"));
    assert_eq!((status.lag, status.pending, status.group_origin), (None, None, None));
    assert_eq!(status.display.unwrap().replicas.as_deref(), Some("2/0"));
}

#[test]
fn a_claim_keeps_its_time_and_a_new_one_gets_the_present_one() {
    let claimed_at =
        |status: EventConsumerGroupStatus| status.claim.unwrap().claimed_at.0.as_second();
    assert_eq!(claimed_at(built(&running(|_| ()), None)), 1_234);
    let before = Some(Timestamp::from_second(7).unwrap());
    let kept = Observed { claimed_at: before, ..running(|_| ()) };
    assert_eq!(claimed_at(built(&kept, None)), 7);
    let lost = Observed { claim: Claim::Other { name: None }, ..kept };
    assert_eq!(claimed_at(built(&lost, None)), 7);
}

#[test]
fn a_claim_moves_to_another_address_when_that_answers_and_a_new_one_at_once() {
    let mut before = built(&running(|_| ()), None);
    before.group_origin = Some(eventbus_api::GroupOrigin::Created);
    before.redis.as_mut().unwrap().target_hash = Some("former".into());
    before.claim.as_mut().unwrap().target_hash = "former".into();
    let claimed_at = Some(Timestamp::from_second(7).unwrap());
    let failed = RedisState::Failed(ReadFailure::Unreachable("down".into()));
    let claimed = |redis: RedisState, claimed_at| {
        let status = built(&Observed { claimed_at, ..observed(redis) }, Some(&before));
        (status.claim.unwrap().target_hash, status.group_origin.is_some())
    };
    assert_eq!(claimed(failed.clone(), claimed_at), ("former".to_owned(), true));
    assert_eq!(claimed(read(Some(0)), claimed_at), ("hash".to_owned(), false));
    assert_eq!(claimed(failed, None), ("hash".to_owned(), false));
}

#[test]
fn a_refused_resource_keeps_the_claim_and_the_position_of_its_group() {
    let before = built(&running(|_| ()), None);
    let refusal = Refusal { reason: "InvalidTemplate", message: "handler.http.url: …".into() };
    let deployment = deployed(&desired(), 2);
    let now = Timestamp::from_second(9).unwrap();
    let status = refused(&desired().resource, &refusal, &deployment, Some(&before), now);
    assert_eq!(status.ready().unwrap().reason, "InvalidTemplate");
    assert_eq!((&status.position, &status.claim), (&before.position, &before.claim));
    assert_eq!(status.display.unwrap().replicas.as_deref(), Some("2/2"));
}

#[test]
fn an_entry_id_that_is_no_time_gives_no_time() {
    assert_eq!(time_of(EntryId::MAX), None);
}
