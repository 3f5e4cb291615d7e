//! How far the outbox is sent, in a file of two slots that are written by turns: a crash while one is written leaves
//! the other, which is a step behind. It is not synced: what is lost of it is sent again, and told by its `id`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use eventbus_core::names::StreamKey;

/// A place between two records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// The number of a segment; the first is 1.
    pub segment: u64,
    /// Bytes from its start. 0: all of it is to come.
    pub offset: u64,
}

const SLOT: usize = 20;

/// The open file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    seal: u32,
    writes: u64,
}

impl Mark {
    /// Takes the file, and reads it.
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

    /// Notes that everything before `position` is sent.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set(&mut self, position: Position) -> io::Result<()> {
        self.writes += 1;
        let place = (self.writes % 2) * SLOT as u64;
        self.file.write_all_at(&slot(position, self.seal), place)
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

/// The further of the slots that are whole.
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
    fn the_further_position_reads_back() {
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
    fn another_streams_mark_says_nothing() {
        let other = StreamKey::new("t").unwrap();
        assert_eq!(Mark::open(written(), &other).unwrap().1, None);
    }
}
