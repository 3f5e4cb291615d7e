//! Sent position of the outbox, in a file with two slots that are written alternately: a crash during a write leaves the
//! other slot, which is one step older. The file is not synced: after a loss, events are sent again with the same `id`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use eventbus_core::names::StreamKey;

/// Position between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The number of a segment; the first is 1.
    pub segment: u64,
    /// Bytes from the start of the segment; 0 before its header.
    pub offset: u64,
}

const SLOT: usize = 20;

/// Open file of the sent position.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    seal: u32,
    writes: u64,
}

impl Mark {
    /// Reads the position from the file; `None` if it has none for `stream`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(file: File, stream: &StreamKey) -> io::Result<(Self, Option<Position>)> {
        let seal = crc32fast::hash(stream.as_str().as_bytes());
        let mut bytes = [0; 2 * SLOT];
        let mut length = 0;
        while let read @ 1.. = file.read_at(&mut bytes[length..], length as u64)? {
            length += read;
        }
        Ok((Self { file, seal, writes: 0 }, latest(&bytes[..length], seal)))
    }

    /// Records that everything before `position` is sent.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set(&mut self, position: Position) -> io::Result<()> {
        self.writes += 1;
        let offset = (self.writes % 2) * SLOT as u64;
        self.file.write_all_at(&slot(position, self.seal), offset)
    }
}

fn slot(position: Position, seal: u32) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(&position.segment.to_le_bytes());
    bytes[8..16].copy_from_slice(&position.offset.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new_with_initial(seal);
    hasher.update(&bytes[..16]);
    bytes[16..].copy_from_slice(&hasher.finalize().to_le_bytes());
    bytes
}

/// Returns the higher position of the intact slots.
fn latest(bytes: &[u8], seal: u32) -> Option<Position> {
    let read = |bytes: &[u8]| {
        let (segment, rest) = bytes.split_first_chunk()?;
        let (offset, _) = rest.split_first_chunk()?;
        let (segment, offset) = (u64::from_le_bytes(*segment), u64::from_le_bytes(*offset));
        let position = Position { segment, offset };
        (slot(position, seal) == *bytes).then_some(position)
    };
    bytes.chunks_exact(SLOT).filter_map(read).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamKey {
        StreamKey::new("s").unwrap()
    }

    const OLD: Position = Position { segment: 1, offset: 9_000 };
    const NEW: Position = Position { segment: 2, offset: 70 };

    fn written() -> File {
        let file = tempfile::tempfile().unwrap();
        let (mut mark, before) = Mark::open(file.try_clone().unwrap(), &stream()).unwrap();
        assert_eq!(before, None);
        mark.set(OLD).unwrap();
        mark.set(NEW).unwrap();
        file
    }

    #[test]
    fn the_higher_position_reads_back() {
        assert_eq!(Mark::open(written(), &stream()).unwrap().1, Some(NEW));
    }

    #[test]
    fn a_write_that_was_torn_anywhere_leaves_the_position_before() {
        for cut in 0..SLOT as u64 {
            let file = written();
            file.write_all_at(&[0xff], cut).unwrap();
            assert_eq!(Mark::open(file, &stream()).unwrap().1, Some(OLD), "byte {cut}");
        }
    }

    #[test]
    fn a_mark_of_another_stream_has_no_position() {
        let other = StreamKey::new("t").unwrap();
        assert_eq!(Mark::open(written(), &other).unwrap().1, None);
    }
}
