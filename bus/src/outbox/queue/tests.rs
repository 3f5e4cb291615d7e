use eventbus_core::names::StreamKey;
use prometheus_client::registry::Registry;

use crate::metrics::Metrics;
use crate::outbox::aside::FoundAside;
use crate::outbox::directory::Directory;

use super::*;

fn empty() -> Queue {
    let dir = tempfile::tempdir().unwrap();
    let stream = StreamKey::new("s").unwrap();
    let found = Directory::lock(dir.path(), &stream).unwrap().recover().unwrap();
    Queue::new(
        &found,
        &FoundAside::default(),
        Metrics::register(&mut Registry::default()).of_outbox(&stream),
    )
}

fn at(segment: u64, offset: u64) -> Position {
    Position { segment, offset }
}

fn id(ms: u64) -> EntryId {
    EntryId { ms, seq: 0 }
}

/// Adds a record of `bytes` that ends at `end`. The returned receiver gets the entry's ID once it is sent.
fn add(queue: &Queue, bytes: usize, end: Position) -> oneshot::Receiver<EntryId> {
    let (sent, is_sent) = oneshot::channel();
    queue.add([Stored { body: vec![0; bytes].into(), end, sent }]);
    is_sent
}

fn in_memory(next: Next) -> Vec<Position> {
    let Next::InMemory(records) = next else { panic!("{next:?}") };
    records.into_iter().map(|(_, end)| end).collect()
}

#[test]
fn whoever_waits_for_a_record_gets_its_id_once_it_is_sent() {
    let queue = empty();
    let (mut first, mut second) = (add(&queue, 1, at(1, 50)), add(&queue, 1, at(1, 63)));
    assert_eq!(in_memory(queue.peek(1, 100)), [at(1, 50)]);
    queue.sent(&[id(7)], at(1, 50));
    assert_eq!(first.try_recv(), Ok(id(7)));
    assert!(second.try_recv().is_err());
    assert_eq!((in_memory(queue.peek(1, 100)), queue.unsent()), (vec![at(1, 63)], 1));
}

#[test]
fn a_batch_has_at_most_so_many_records_and_bytes_and_never_less_than_one() {
    let queue = empty();
    for n in 1..=4 {
        add(&queue, 100, at(1, n));
    }
    assert_eq!(in_memory(queue.peek(3, 10_000)).len(), 3);
    assert_eq!(in_memory(queue.peek(9, 250)).len(), 2);
    assert_eq!(in_memory(queue.peek(9, 1)).len(), 1);
}

#[test]
fn more_than_fits_in_memory_is_read_back_from_disk_until_the_rest_of_it_is_in_memory() {
    let queue = empty();
    let mut first = add(&queue, 1, at(1, 1));
    let mut second = add(&queue, 1, at(1, 2));
    for n in 3..=1_025 {
        add(&queue, 1, at(1, n));
    }
    assert!(matches!(queue.peek(1, 1), Next::OnDisk(from, _) if from == at(0, 0)));
    assert!(matches!(first.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    let mut last = add(&queue, 1, at(1, 1_026));
    assert!(matches!(last.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    assert!(matches!(queue.peek(1, 1), Next::OnDisk(from, _) if from == at(0, 0)));

    queue.sent(&[id(1)], at(1, 1));
    assert!(matches!(queue.peek(1, 1), Next::OnDisk(from, _) if from == at(1, 1)));
    // What is read from disk may reach into what is in memory.
    queue.sent(&[id(2), id(3)], at(1, 3));
    assert!(second.try_recv().is_err());
    assert_eq!(in_memory(queue.peek(1, 1)), [at(1, 4)]);
    let mut next = add(&queue, 1, at(1, 1_027));
    let ids: Vec<EntryId> = (4..=1_027).map(id).collect();
    queue.sent(&ids, at(1, 1_027));
    assert_eq!((next.try_recv(), queue.unsent()), (Ok(id(1_027)), 0));
}

#[test]
fn bytes_count_as_records_do_and_one_large_record_fits_all_the_same() {
    let queue = empty();
    add(&queue, MAX_BYTES + 1, at(1, 1));
    assert_eq!(in_memory(queue.peek(1, 1)).len(), 1);
    add(&queue, 1, at(1, 2));
    assert!(matches!(queue.peek(1, 1), Next::OnDisk(..)));
}

#[test]
fn while_sending_fails_nobody_waits_and_nothing_is_forgotten() {
    let queue = empty();
    let mut before = add(&queue, 1, at(1, 1));
    queue.failed();
    let mut after = add(&queue, 1, at(1, 2));
    for waiting in [&mut before, &mut after] {
        assert!(matches!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    }
    assert_eq!(in_memory(queue.peek(9, 9)), [at(1, 1), at(1, 2)]);
    queue.sent(&[id(1), id(2)], at(1, 2));
    let mut later = add(&queue, 1, at(1, 3));
    queue.sent(&[id(3)], at(1, 3));
    assert_eq!(later.try_recv(), Ok(id(3)));
}

#[test]
fn a_segment_is_done_once_it_is_sent_and_another_one_is_written_to() {
    let queue = empty();
    add(&queue, 1, at(1, 90));
    assert!(queue.sent(&[id(1)], at(1, 90)).is_empty());
    add(&queue, 1, at(2, 40));
    add(&queue, 1, at(3, 40));
    assert_eq!(queue.stored(), 170);
    assert_eq!(queue.sent(&[id(2)], at(2, 40)), [1, 2]);
    assert_eq!((queue.stored(), queue.unsent()), (40, 1));
}

#[test]
fn a_sent_segment_is_done_once_no_more_is_written_to_it() {
    let queue = empty();
    add(&queue, 1, at(1, 90));
    queue.sent(&[id(1)], at(1, 90));
    assert!(queue.closed(at(1, 120)).is_empty(), "30 bytes of it are not noted yet");
    add(&queue, 1, at(1, 120));
    assert!(queue.closed(at(1, 120)).is_empty(), "they are not sent");
    assert_eq!(queue.sent(&[id(2)], at(1, 120)), [1]);
    assert_eq!((queue.stored(), queue.unsent()), (0, 0));
}

#[test]
fn what_stands_behind_a_place_that_cannot_be_read_is_sent() {
    let queue = empty();
    for n in 1..=1_030 {
        add(&queue, 1, at(1, n));
    }
    add(&queue, 1, at(2, 1));
    queue.skipped(at(1, 4));
    assert_eq!(queue.unsent(), 1_031);
    assert!(matches!(queue.peek(1, 1), Next::OnDisk(from, _) if from == at(1, 4)));
    queue.skipped(at(1, 1_030));
    assert!(matches!(queue.peek(1, 1), Next::OnDisk(from, _) if from == at(1, 1_030)));
}

#[test]
fn what_was_counted_and_cannot_be_read_is_not_waited_for() {
    let queue = empty();
    queue.failed();
    for n in 1..=1_025 {
        add(&queue, 1, at(1, n));
    }
    add(&queue, 1, at(1, 1_026));
    queue.skipped(at(1, 1_025));
    assert!(matches!(queue.peek(1, 1), Next::OnDisk(from, _) if from == at(1, 1_025)));
    queue.skipped(at(1, 1_026));
    assert!(matches!(queue.peek(1, 1), Next::Nothing));
    assert_eq!((add(&queue, 1, at(1, 1_027)), in_memory(queue.peek(1, 1))).1, [at(1, 1_027)]);
}

#[test]
fn an_event_that_was_set_aside_is_no_longer_waited_for_and_counts_as_stored() {
    let queue = empty();
    let mut first = add(&queue, 1, at(1, 40));
    add(&queue, 1, at(1, 80));
    queue.set_aside(at(1, 40), 100);
    assert!(first.try_recv().is_err());
    assert_eq!((queue.unsent(), queue.stored()), (1, 180));
    assert_eq!(in_memory(queue.peek(9, 9)), [at(1, 80)]);
    queue.sent_again(100);
    assert_eq!(queue.stored(), 80);
}

#[test]
fn an_event_that_is_set_aside_from_disk_leaves_the_ones_in_memory_alone() {
    let queue = empty();
    for n in 1..=1_025 {
        add(&queue, 1, at(1, n));
    }
    queue.set_aside(at(1, 1), 100);
    assert_eq!(in_memory(queue.peek(1, 1)), [at(1, 2)]);
}
