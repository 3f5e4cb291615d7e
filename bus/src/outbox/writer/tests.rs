use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use eventbus_core::names::{EntryId, StreamKey};
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::metrics::Metrics;
use crate::outbox::aside::FoundAside;
use crate::outbox::backlog::Backlog;
use crate::outbox::commit::{Appending, commit};
use crate::outbox::queue::Stored;
use crate::outbox::record;

use super::*;

const MIB: u64 = 1024 * 1024;

fn directory(dir: &Path) -> Directory {
    Directory::lock(dir, &StreamKey::new("s").unwrap()).unwrap()
}

/// Opens the outbox in `dir`: what writes to it, and what it holds.
fn open(dir: &Path) -> (Writer, Vec<String>) {
    let directory = Arc::new(directory(dir));
    let found = directory.recover().unwrap();
    let metrics = Metrics::register(&mut Registry::default()).of_outbox(&directory.stream);
    let queue = Arc::new(Queue::new(&found, &FoundAside::default(), metrics));
    let records = records(&directory, found.next, &found.ends);
    assert_eq!(records.len() as u64, found.records);
    let config = OutboxConfig { dir: dir.to_owned(), max_bytes: MIB };
    (Writer::new(directory, queue, &config, found.last), records)
}

fn records(
    directory: &Arc<Directory>,
    mut from: Position,
    ends: &BTreeMap<u64, u64>,
) -> Vec<String> {
    let mut backlog = Backlog::new(directory.clone(), BTreeSet::new());
    let mut records = Vec::new();
    loop {
        let piece = backlog.read(from, ends, 3).unwrap();
        if piece.next == from {
            return records;
        }
        from = piece.next;
        records.extend(piece.records.iter().map(|(body, _)| {
            let record = record::read(body).unwrap();
            String::from_utf8(record.fields[0].1.to_vec()).unwrap()
        }));
    }
}

fn bodies<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Body> {
    let body = |text: &'a str| record::write(1, &[("type", text.into())]).into();
    texts.into_iter().map(body).collect()
}

/// Writes as the group commit does. Returns for each record whether it was stored.
fn store(writer: &mut Writer, texts: &[&str]) -> Vec<bool> {
    let bodies = bodies(texts.iter().copied());
    let results = writer.append(&bodies);
    let stored = bodies.into_iter().zip(&results).filter_map(|(body, result)| {
        let end = *result.as_ref().ok()?;
        Some(Stored { body, end, sent: oneshot::channel().0 })
    });
    writer.queue.add(stored);
    results.iter().map(Result::is_ok).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let name =
        |entry: io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = std::fs::read_dir(dir).unwrap().map(name).collect();
    names.retain(|name| !["lock", "sent"].contains(&name.as_str()));
    names.sort();
    names
}

fn segment(number: u64) -> String {
    format!("{number:020}.log")
}

#[test]
fn stored_records_are_there_after_a_restart_and_their_segment_is_written_to_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, records) = open(dir.path());
    assert_eq!(records.len(), 0);
    assert_eq!(store(&mut writer, &["a", "b"]), [true, true]);
    drop(writer);
    let (mut writer, records) = open(dir.path());
    assert_eq!(records, ["a", "b"]);
    store(&mut writer, &["c"]);
    drop(writer);
    assert_eq!(open(dir.path()).1, ["a", "b", "c"]);
    assert_eq!(names(dir.path()), [segment(1), segment(2)]);
}

#[test]
fn a_batch_costs_one_sync_and_a_new_segment_one_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    store(&mut writer, &["a"; 64]);
    assert_eq!(writer.queue.metrics.syncs(), 2);
    store(&mut writer, &["a"; 64]);
    assert_eq!(writer.queue.metrics.syncs(), 3);
}

#[test]
fn segments_end_at_a_sixteenth_of_the_cap_and_a_longer_record_has_one_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    let (large, longer) = ("x".repeat(40_000), "y".repeat(100_000));
    assert_eq!(store(&mut writer, &[&large, &large, &longer, "a"]), [true; 4]);
    assert_eq!(names(dir.path()), [1, 2, 3, 4].map(segment));
    drop(writer);
    assert_eq!(open(dir.path()).1, [large.clone(), large, longer, "a".to_owned()]);
}

#[test]
fn at_the_cap_a_record_is_refused_and_one_that_still_fits_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    let large = "x".repeat(300_000);
    let stored = store(&mut writer, &[&large, &large, &large, &large, "a"]);
    assert_eq!(stored, [true, true, true, false, true]);
    let size = |name: &String| std::fs::metadata(dir.path().join(name)).unwrap().len();
    assert!(names(dir.path()).iter().map(size).sum::<u64>() <= MIB);
}

#[test]
fn after_a_sync_that_failed_the_records_go_to_a_new_segment_once_each() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    store(&mut writer, &["a"]);
    writer.sync = |file| {
        // The first segment has its one record alone; the disk fails for what comes behind it.
        let is_first = file.metadata()?.len() > 120;
        if is_first { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { file.sync_data() }
    };
    let long = "b".repeat(40);
    assert_eq!(store(&mut writer, &[&long]), [true]);
    assert_eq!(names(dir.path()), [segment(1), segment(2)]);
    drop(writer);
    assert_eq!(open(dir.path()).1, ["a".to_owned(), long]);
}

#[test]
fn on_a_disk_that_fails_records_are_refused_and_nothing_of_them_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    store(&mut writer, &["a"]);
    writer.sync = |_| Err(io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!(store(&mut writer, &["b", "c"]), [false, false]);
    assert_eq!(names(dir.path()), [segment(1)]);
    writer.sync = File::sync_data;
    assert_eq!(store(&mut writer, &["d"]), [true]);
    drop(writer);
    assert_eq!(open(dir.path()).1, ["a", "d"]);
}

#[test]
fn a_caller_is_answered_once_its_record_is_on_disk_and_in_the_queue() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    let queue = writer.queue.clone();
    let answered_and_unsent = |writer: &mut Writer| {
        let (stored, mut is_stored) = oneshot::channel();
        let body = bodies(["a"]).remove(0);
        commit(writer, &queue, vec![Appending { body, stored, sent: oneshot::channel().0 }]);
        (is_stored.try_recv().unwrap().is_ok(), queue.unsent())
    };
    writer.sync = |_| Err(io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!(answered_and_unsent(&mut writer), (false, 0));
    writer.sync = File::sync_data;
    assert_eq!(answered_and_unsent(&mut writer), (true, 1));
}

/// A new segment of three records, and the bytes of it.
fn three(dir: &Path) -> Vec<u8> {
    let (mut writer, _) = open(dir);
    store(&mut writer, &["a", "b", "c"]);
    std::fs::read(dir.join(segment(writer.last))).unwrap()
}

#[test]
fn cut_at_every_byte_the_outbox_opens_with_every_record_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = three(dir.path());
    let record = OVERHEAD + bodies(["a"])[0].len();
    for cut in 0..=bytes.len() {
        std::fs::write(dir.path().join(segment(1)), &bytes[..cut]).unwrap();
        let (mut writer, records) = open(dir.path());
        let missing = (bytes.len() - cut).div_ceil(record).min(3);
        assert_eq!(records, ["a", "b", "c"][..3 - missing], "cut at {cut}");
        assert!(store(&mut writer, &["d"])[0]);
        drop(writer);
        assert_eq!(open(dir.path()).1.last().unwrap(), "d", "cut at {cut}");
        for name in names(dir.path()) {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_costs_one_record_at_most_and_the_bytes_are_copied() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = three(dir.path());
    let copy = dir.path().join(format!("{}.damaged", segment(1)));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(dir.path().join(segment(1)), &damaged).unwrap();
        let (_, records) = open(dir.path());
        let lost: Vec<&str> =
            ["a", "b", "c"].into_iter().filter(|x| !records.contains(&(*x).to_owned())).collect();
        assert!(lost.len() <= 1 && records.len() + lost.len() == 3, "bit {bit}: {records:?}");
        assert_eq!(std::fs::read(&copy).unwrap(), damaged, "bit {bit}");
        std::fs::remove_file(&copy).unwrap();
        // The copy is the segment under another name.
        std::fs::remove_file(dir.path().join(segment(1))).unwrap();
    }
}

#[test]
fn a_segment_of_another_stream_or_version_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = three(dir.path());
    let other = StreamKey::new("t").unwrap();
    let error = Directory::lock(dir.path(), &other).unwrap().recover().unwrap_err();
    let file = dir.path().join(segment(1));
    let expected = format!(
        "outbox file {} belongs to stream s, not to stream t: run the program that wrote it until its events are sent, or move the file",
        file.display()
    );
    assert_eq!(error.to_string(), expected);
    let mut newer = bytes[..8].to_vec();
    newer.extend(2_u32.to_le_bytes());
    newer.extend([7; 100]);
    std::fs::write(&file, newer).unwrap();
    let error = directory(dir.path()).recover().unwrap_err();
    assert!(error.to_string().contains("belongs to version 2, not to version 1"), "{error}");
}

/// Marks everything in the outbox of `stream` as sent.
fn send_all(dir: &Path, stream: &StreamKey) {
    let mut found = Directory::lock(dir, stream).unwrap().recover().unwrap();
    let (segment, offset) = found.ends.last_key_value().unwrap();
    found.mark.set(Position { segment: *segment, offset: *offset }).unwrap();
}

#[test]
fn a_segment_of_another_stream_is_removed_once_all_of_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    three(dir.path());
    send_all(dir.path(), &StreamKey::new("s").unwrap());
    let other = Directory::lock(dir.path(), &StreamKey::new("t").unwrap()).unwrap();
    assert_eq!((other.recover().unwrap().records, names(dir.path()).len()), (0, 0));
}

#[test]
fn an_old_mark_does_not_apply_to_segments_of_another_stream() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (StreamKey::new("s").unwrap(), StreamKey::new("t").unwrap());
    for _ in 0..3 {
        three(dir.path());
        send_all(dir.path(), &ours);
    }
    open(dir.path());
    let first = Directory::lock(dir.path(), &other).unwrap();
    std::fs::write(first.file(1), header::write(&other, 1)).unwrap();
    drop(first);
    let error = directory(dir.path()).recover().unwrap_err();
    assert!(matches!(error, Error::OutboxForeign { .. }), "{error}");
    assert_eq!(names(dir.path()), [segment(1)]);
}

#[test]
fn a_file_that_somebody_removed_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    store(&mut writer, &["a"]);
    std::fs::remove_file(dir.path().join(segment(1))).unwrap();
    assert_eq!(store(&mut writer, &["b"]), [true]);
    assert_eq!(names(dir.path()), [segment(2)]);
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(store(&mut writer, &["c"]), [false]);
}

#[test]
fn what_is_sent_leaves_its_room_to_what_comes_however_small_the_cap() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    let large = "x".repeat(600_000);
    for _ in 0..3 {
        assert_eq!(store(&mut writer, &[&large]), [true]);
        assert_eq!(store(&mut writer, &[&large]), [false]);
        let end = Position { segment: writer.last, offset: writer.queue.stored() };
        writer.queue.sent(&[EntryId::ZERO], end);
    }
}

#[test]
fn a_directory_has_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let _first = directory(dir.path());
    let error = Directory::lock(dir.path(), &StreamKey::new("s").unwrap()).unwrap_err();
    assert!(matches!(error, Error::OutboxTaken { .. }));
    let expected = format!(
        "the outbox {} is in use by another process: each process needs a directory of its own",
        dir.path().display()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(segment(1))).unwrap();
    let error = directory(dir.path()).recover().unwrap_err();
    let file = dir.path().join(segment(1));
    assert_eq!(error.to_string(), format!("cannot read {} of the outbox", file.display()));
}

#[test]
fn what_is_sent_is_not_there_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _) = open(dir.path());
    store(&mut writer, &["a", "b"]);
    let end = writer.append(&bodies(["c"]))[0].clone().unwrap();
    drop(writer);
    let mut found = directory(dir.path()).recover().unwrap();
    found.mark.set(Position { offset: end.offset - 33, ..end }).unwrap();
    drop(found);
    let (writer, records) = open(dir.path());
    assert_eq!(records, ["c"]);
    drop(writer);
    let mut found = directory(dir.path()).recover().unwrap();
    found.mark.set(end).unwrap();
    assert_eq!((open(dir.path()).1.len(), names(dir.path()).len()), (0, 0));
    assert_eq!(directory(dir.path()).recover().unwrap().last, 1);
}
