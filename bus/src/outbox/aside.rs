//! Events that were set aside, each in a file beside the segments: `<segment>-<end>.aside`, by the place in the segments
//! where the event was. It has the header and the frames of a segment: first a note on the refusal, then the record.

use std::fs;
use std::io::{self, Write};

use eventbus_core::names::StreamKey;
use jiff::Timestamp;

use crate::error::Error;

use super::directory::{Directory, failed, private};
use super::frame::{Frame, Seal};
use super::header::{self, Header};
use super::mark::Position;
use super::record;

const EXTENSION: &str = "aside";
/// Extension of a file that is not complete yet.
const INCOMPLETE: &str = "aside.new";

/// Event of the outbox that was set aside, because Redis refused it for its own sake. Made by
/// [`EventBus::set_aside_events`](crate::EventBus::set_aside_events).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetAsideEvent {
    /// Its ID.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// Time of the publish.
    pub time: Timestamp,
    /// Size of its fields, in bytes.
    pub bytes: u64,
    /// Error of the last try.
    pub cause: String,
    /// Number of times that it was sent alone, and refused.
    pub tries: u32,
}

/// Refusal of an event.
#[derive(Debug)]
pub(super) struct Note {
    /// Time of the last try, milliseconds since 1970.
    pub at_ms: u64,
    pub tries: u32,
    pub cause: String,
}

/// Events that were set aside, as found at the start.
#[derive(Debug, Default)]
pub(super) struct FoundAside {
    pub events: u64,
    pub bytes: u64,
    /// The highest number of a segment that one of them is from.
    pub last: u64,
    /// Number of files that cannot be read.
    pub damaged: u64,
}

/// Writes an event to a file of its own, and syncs it. Returns the size of the file, or 0 if it existed.
///
/// # Errors
/// If the disk fails; the event is then not set aside.
pub(super) fn write(
    directory: &Directory,
    at: Position,
    note: &Note,
    body: &[u8],
) -> io::Result<u64> {
    let tries = note.tries.to_string();
    let fields = [("tries", tries.as_str().into()), ("cause", note.cause.as_str().into())];
    let seal = header::seal(&directory.stream, at.segment);
    let mut bytes = header::write(&directory.stream, at.segment);
    for body in [record::write(note.at_ms, &fields).as_slice(), body] {
        seal.write(bytes.len() as u64, body, &mut bytes);
    }
    let path = directory.path().join(name(at));
    let incomplete = path.with_extension(INCOMPLETE);
    let before = fs::metadata(&path).map_or(0, |file| file.len());
    let mut file = private().create(true).truncate(true).write(true).open(&incomplete)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&incomplete, &path)?;
    directory.sync()?;
    Ok((bytes.len() as u64).saturating_sub(before))
}

/// Reads one event with its record, which is [`record`]-encoded; `None` if the file is damaged.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn read(
    directory: &Directory,
    at: Position,
) -> io::Result<Option<(SetAsideEvent, Vec<u8>)>> {
    let bytes = fs::read(directory.path().join(name(at)))?;
    let length = header::write(&directory.stream, at.segment).len();
    let seal = header::seal(&directory.stream, at.segment);
    Ok(decode(seal, &bytes, length))
}

fn decode(seal: Seal, bytes: &[u8], header: usize) -> Option<(SetAsideEvent, Vec<u8>)> {
    let frame = |offset: u64| {
        let rest = bytes.get(usize::try_from(offset).ok()?..)?;
        let Frame::Whole { body, end } = seal.read(offset, rest) else { return None };
        Some((body, end))
    };
    let (note, end) = frame(header as u64)?;
    let (body, _) = frame(end)?;
    let (note, record) = (record::read(note)?, record::read(body)?);
    let event = SetAsideEvent {
        event_id: record.text("id"),
        event_type: record.text("type"),
        time: time(record.made_ms),
        bytes: body.len() as u64,
        cause: note.text("cause"),
        tries: note.text("tries").parse().ok()?,
    };
    Some((event, body.to_owned()))
}

/// Lists the places of the events that were set aside, in their order in the outbox.
///
/// # Errors
/// If the directory cannot be read.
pub(super) fn list(directory: &Directory) -> io::Result<Vec<Position>> {
    let mut places = Vec::new();
    for entry in fs::read_dir(directory.path())? {
        places.extend(entry?.file_name().to_str().and_then(position));
    }
    places.sort_unstable();
    Ok(places)
}

/// Removes an event and returns the size of its file.
///
/// # Errors
/// If the file cannot be removed.
pub(super) fn remove(directory: &Directory, at: Position) -> io::Result<u64> {
    let path = directory.path().join(name(at));
    let bytes = fs::metadata(&path)?.len();
    fs::remove_file(&path)?;
    Ok(bytes)
}

/// Checks all files at the start, and logs those that are damaged. Removes files that a crash left incomplete: their
/// events are still in the segments.
///
/// # Errors
/// [`Error::OutboxForeign`], [`Error::OutboxFile`].
pub(super) fn recover(directory: &Directory) -> Result<FoundAside, Error> {
    let places = list(directory).map_err(|source| failed("list", directory.path(), source))?;
    let mut found = FoundAside::default();
    for at in places {
        let path = directory.path().join(name(at));
        let bytes = fs::read(&path).map_err(|source| failed("read", &path, source))?;
        (found.bytes, found.last) = (found.bytes + bytes.len() as u64, at.segment.max(found.last));
        let seal = header::seal(&directory.stream, at.segment);
        let is_foreign = match header::read(&bytes, &directory.stream, at.segment) {
            Header::Ours | Header::Cut | Header::Damaged => None,
            Header::Foreign { found, expected } => Some((found, expected)),
            Header::OtherStream(other) => {
                let of = |stream: &StreamKey| format!("stream {stream}");
                Some((of(&other), of(&directory.stream)))
            }
        };
        if let Some((found, expected)) = is_foreign {
            return Err(Error::OutboxForeign { path, found, expected });
        }
        let length = header::write(&directory.stream, at.segment).len();
        if decode(seal, &bytes, length).is_some() {
            found.events += 1;
        } else {
            found.damaged += 1;
            let file = path.display();
            tracing::error!(%file, "an event that the outbox set aside is damaged: it is not listed, and the file stays");
        }
    }
    remove_incomplete(directory).map_err(|source| failed("clean up", directory.path(), source))?;
    Ok(found)
}

fn remove_incomplete(directory: &Directory) -> io::Result<()> {
    for entry in fs::read_dir(directory.path())? {
        let path = entry?.path();
        if path.to_str().is_some_and(|path| path.ends_with(&format!(".{INCOMPLETE}"))) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn name(at: Position) -> String {
    format!("{:020}-{:020}.{EXTENSION}", at.segment, at.offset)
}

fn position(name: &str) -> Option<Position> {
    let (segment, offset) = name.strip_suffix(EXTENSION)?.strip_suffix('.')?.split_once('-')?;
    Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
}

fn time(ms: u64) -> Timestamp {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { segment: 3, offset: 70 };

    fn directory(stream: &str) -> (tempfile::TempDir, Directory) {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::lock(dir.path(), &StreamKey::new(stream).unwrap()).unwrap();
        (dir, directory)
    }

    fn write_one(directory: &Directory) -> u64 {
        let body = record::write(1_000, &[("type", "t".into()), ("id", "e-1".into())]);
        let note = Note { at_ms: 2_000, tries: 5, cause: "too large".to_owned() };
        write(directory, AT, &note, &body).unwrap()
    }

    #[test]
    fn what_was_set_aside_reads_back_and_is_gone_once_it_is_removed() {
        let (_dir, directory) = directory("s");
        let bytes = write_one(&directory);
        assert_eq!(list(&directory).unwrap(), [AT]);
        let (event, body) = read(&directory, AT).unwrap().unwrap();
        let expected = SetAsideEvent {
            event_id: "e-1".to_owned(),
            event_type: "t".to_owned(),
            time: Timestamp::from_second(1).unwrap(),
            bytes: 34,
            cause: "too large".to_owned(),
            tries: 5,
        };
        assert_eq!((event, body.len()), (expected, 34));
        let found = recover(&directory).unwrap();
        assert_eq!((found.events, found.bytes, found.last, found.damaged), (1, bytes, 3, 0));
        assert_eq!(remove(&directory, AT).unwrap(), bytes);
        assert_eq!(list(&directory).unwrap(), []);
    }

    #[test]
    fn an_event_that_is_set_aside_twice_is_there_once() {
        let (_dir, directory) = directory("s");
        write_one(&directory);
        assert_eq!(write_one(&directory), 0, "no more bytes are used");
        assert_eq!(list(&directory).unwrap(), [AT]);
    }

    #[test]
    fn a_file_with_a_flipped_bit_anywhere_is_not_listed_and_stays() {
        let (dir, directory) = directory("s");
        write_one(&directory);
        let path = dir.path().join(name(AT));
        let whole = fs::read(&path).unwrap();
        let header = header::write(&directory.stream, AT.segment).len();
        for bit in header * 8..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            assert_eq!(read(&directory, AT).unwrap(), None, "bit {bit}");
        }
        let found = recover(&directory).unwrap();
        assert_eq!((found.events, found.damaged, path.exists()), (0, 1, true));
    }

    #[test]
    fn an_incomplete_file_is_removed_and_that_of_another_stream_is_refused() {
        let (dir, other) = directory("other");
        write_one(&other);
        drop(other);
        let incomplete = dir.path().join(format!("{}.new", name(AT)));
        fs::write(&incomplete, "half").unwrap();
        let directory = Directory::lock(dir.path(), &StreamKey::new("s").unwrap()).unwrap();
        assert!(matches!(recover(&directory), Err(Error::OutboxForeign { .. })));
        fs::remove_file(dir.path().join(name(AT))).unwrap();
        assert_eq!(recover(&directory).unwrap().events, 0);
        assert!(!incomplete.exists());
    }
}
