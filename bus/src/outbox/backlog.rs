//! Reads unsent records back from disk, a piece at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::directory::Directory;
use super::frame::{Frame, Seal};
use super::header;
use super::mark::Position;
use super::queue::Body;
use super::record;

/// Maximum number of bytes read at once, unless one record is larger.
const MAX_PIECE: u64 = 1024 * 1024;

/// Reader of the segments.
#[derive(Debug)]
pub(super) struct Backlog {
    directory: Arc<Directory>,
    open: Option<(u64, File)>,
    /// Damaged positions that are logged already.
    logged: BTreeSet<Position>,
}

/// Records read at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// The records, each with its end position.
    pub records: Vec<(Body, Position)>,
    /// Position to continue from.
    pub next: Position,
    /// Number of damaged places that were not known before.
    pub damaged: u64,
}

/// Segment, up to the end of its stored bytes.
struct Segment<'a> {
    file: &'a File,
    number: u64,
    seal: Seal,
    end: u64,
}

impl Backlog {
    /// Creates a reader that does not log the positions in `logged` again.
    pub fn new(directory: Arc<Directory>, logged: BTreeSet<Position>) -> Self {
        Self { directory, open: None, logged }
    }

    /// Reads the next records after `from`: at most `max`, about 1 MiB, and from one segment. Returns none at the end of
    /// `ends`, or if all bytes of the piece are damaged.
    ///
    /// # Errors
    /// The path of a file that cannot be read, and the cause.
    pub fn read(
        &mut self,
        from: Position,
        ends: &BTreeMap<u64, u64>,
        max: usize,
    ) -> Result<Piece, (PathBuf, io::Error)> {
        let is_behind = |(segment, end): &(&u64, &u64)| {
            **segment > from.segment || (**segment == from.segment && from.offset < **end)
        };
        let Some((number, end)) = ends.iter().find(is_behind) else {
            return Ok(Piece { next: from, ..Piece::default() });
        };
        let start = if *number == from.segment { from.offset } else { 0 };
        self.read_segment(*number, start, *end, max)
            .map_err(|error| (self.directory.file(*number), error))
    }

    fn read_segment(&mut self, number: u64, start: u64, end: u64, max: usize) -> io::Result<Piece> {
        let directory = self.directory.clone();
        let seal = header::seal(&directory.stream, number);
        let segment = Segment { file: self.file(number)?, number, seal, end };
        let begin = segment.begin(&directory, start)?;
        let mut piece = segment.piece(begin, max)?;
        if piece.damaged > 0 {
            if !self.logged.insert(Position { segment: number, offset: begin }) {
                piece.damaged = 0;
                return Ok(piece);
            }
            let copy = directory.copy_damaged(number)?;
            let (file, offset) = (copy.display(), begin);
            tracing::error!(
                %file, offset,
                "a segment of the outbox is damaged: its readable records are sent, and the file is a copy of all its bytes"
            );
        }
        Ok(piece)
    }

    fn file(&mut self, number: u64) -> io::Result<&File> {
        let is_open = self.open.as_ref().is_some_and(|(open, _)| *open == number);
        if !is_open {
            self.open = Some((number, File::open(self.directory.file(number))?));
        }
        let (_, file) = self.open.as_ref().expect("it was opened above");
        Ok(file)
    }
}

impl Segment<'_> {
    /// Returns the offset of the first record at or after `start`, behind the header.
    fn begin(&self, directory: &Directory, start: u64) -> io::Result<u64> {
        let header = header::write(&directory.stream, self.number);
        let length = header.len() as u64;
        if start > 0 || self.bytes(0, length)? != header { Ok(start) } else { Ok(length) }
    }

    /// Reads the records of one piece.
    fn piece(&self, start: u64, max: usize) -> io::Result<Piece> {
        let mut piece = Piece { next: self.at(start), ..Piece::default() };
        let mut bytes = self.bytes(start, MAX_PIECE)?;
        while piece.records.len() < max {
            let offset = piece.next.offset;
            let rest = &bytes[usize::try_from(offset - start).unwrap_or(usize::MAX)..];
            if offset >= self.end {
                break;
            }
            match self.seal.read(offset, rest) {
                Frame::Whole { body, end } if record::read(body).is_some() => {
                    piece.next = self.at(end);
                    piece.records.push((body.into(), piece.next));
                }
                // The next piece starts at the damage.
                Frame::Cut { .. } | Frame::Damaged if !piece.records.is_empty() => break,
                Frame::Cut { needs } if rest.len() < needs && offset + needs as u64 <= self.end => {
                    bytes = self.bytes(start, offset - start + needs as u64)?;
                }
                Frame::Cut { .. } | Frame::Damaged | Frame::Whole { .. } => {
                    piece.damaged += 1;
                    piece.next = self.at(self.after_damage(offset)?);
                    break;
                }
            }
        }
        Ok(piece)
    }

    /// Returns the offset of the next whole record after the damage at `offset`, or the end of the segment.
    fn after_damage(&self, offset: u64) -> io::Result<u64> {
        let rest = self.bytes(offset, self.end - offset)?;
        // The damage may be a frame with valid checksums whose body is not a record.
        let found = self.seal.find(offset + 1, rest.get(1..).unwrap_or_default());
        Ok(found.map_or(self.end, |skipped| offset + 1 + skipped as u64))
    }

    fn at(&self, offset: u64) -> Position {
        Position { segment: self.number, offset }
    }

    /// Reads at most `length` bytes from `offset`.
    fn bytes(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.end.saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}
