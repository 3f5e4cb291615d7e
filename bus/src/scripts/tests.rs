//! Each pair agrees on its keys and arguments.

use std::time::Duration;

use eventbus_core::declaration::Declaration;
use eventbus_core::delivery::{
    Counts, DeadLetter, DelayRequest, DeliveryConfig, EntryRef, Pool, Source,
};
use eventbus_core::group::Start;
use eventbus_core::names::{ConsumerName, EntryId, GroupName, StreamKey};
use jiff::Timestamp;

use crate::redis::script::assert_as_documented;

use super::declare_group::Replace;
use super::snapshot::GroupRequest;
use super::{
    acknowledge, claim, count, create_group, dead_letter, declare_group, delay, drop_oldest,
    forget_group, heartbeat, leave, next_in_order, replay, snapshot, trim,
};

const ID: EntryId = EntryId { ms: 1, seq: 2 };
const LEASE: Duration = Duration::from_secs(30);
const POOL: Pool = Pool::Delayed;

fn names() -> (StreamKey, GroupName, ConsumerName) {
    let consumer = ConsumerName::new("c").unwrap();
    (StreamKey::new("s").unwrap(), GroupName::new("g").unwrap(), consumer)
}

#[test]
fn consumers_write_their_arguments_as_the_headers_of_the_scripts_name_them() {
    let (_, group, consumer) = names();
    let (group, consumer, source, stream) = (&group, &consumer, "s", "s");
    let (dead_letters, consumers, foreign_lease) = ("d", "c", LEASE);
    let (entry, counts) = (EntryRef { source: Source::Stream, id: ID }, &Counts::default());
    let replay = EntryRef { source: Source::DeadLetters, id: ID };
    let delivery = &DeliveryConfig::default();
    let letter = &DeadLetter { entry, attempts: 1, reason: "rejected", error: "no".into() };
    let request = DelayRequest { id: ID, attempts: 1, delay: LEASE, pool: POOL };
    let (requests, ids, now) = (&[request, request], &[ID, ID], Timestamp::UNIX_EPOCH);
    let (entries, search, handler) = (&[entry, replay], &[Source::Stream], "http");
    let (pool, max, max_length, delete, done) = (POOL, 1, 1, true, Some(ID));
    assert_as_documented(&acknowledge::Arguments { source, group, consumer, delete, ids });
    assert_as_documented(&claim::Arguments { source, group, consumer, pool, max });
    assert_as_documented(&delay::Arguments { source, group, consumer, pool, requests });
    assert_as_documented(&dead_letter::Arguments {
        source,
        dead_letters,
        consumers,
        group,
        consumer,
        max_length,
        letter,
        now,
    });
    assert_as_documented(&leave::Arguments {
        stream,
        dead_letters,
        consumers,
        group,
        consumer,
        counts,
    });
    let lease = LEASE;
    assert_as_documented(&next_in_order::Arguments {
        stream,
        consumers,
        group,
        consumer,
        lease,
        foreign_lease,
        done,
    });
    assert_as_documented(&heartbeat::Arguments {
        stream,
        dead_letters,
        consumers,
        group,
        consumer,
        delivery,
        foreign_lease,
        entries,
        search,
        counts,
        handler,
    });
}

#[test]
fn other_programs_write_their_arguments_as_the_headers_of_the_scripts_name_them() {
    let (stream, group, _) = names();
    let (stream, group, id) = (&stream, &group, ID);
    let (after, last, max, count, min_length, keep) = (ID, ID, 1, 1, 1, 1);
    let request = GroupRequest { group: group.clone(), dead_letters: stream.dead_letters(group) };
    let groups = &[request.clone(), request];
    assert_as_documented(&count::Arguments { stream, after, last, max });
    let start = Start::Latest;
    assert_as_documented(&create_group::Arguments { stream, group, start, clamp: true });
    assert_as_documented(&drop_oldest::Arguments { stream, count, min_length });
    let (groups_key, declaration, replace) = ("h", &Declaration::default(), Replace::Unowned);
    let declared = declare_group::Arguments { groups: groups_key, group, declaration, replace };
    assert_as_documented(&declared);
    assert_as_documented(&forget_group::Arguments { groups: "h", group });
    assert_as_documented(&replay::Arguments { dead_letters: stream, group, id });
    assert_as_documented(&snapshot::Arguments { stream, groups });
    assert_as_documented(&trim::Arguments { stream, keep, missing_hold: LEASE });
}
