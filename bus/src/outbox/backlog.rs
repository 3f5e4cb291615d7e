//! Reads back from disk what is not sent yet, a piece at a time.

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

/// Bytes that are read at once, except where one record is longer.
const PIECE: u64 = 1024 * 1024;

/// The segments, to read from.
#[derive(Debug)]
pub(super) struct Backlog {
    directory: Arc<Directory>,
    open: Option<(u64, File)>,
    /// Damaged places that are told already.
    told: BTreeSet<Position>,
}

/// Records that were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// Each with where it ends.
    pub records: Vec<(Body, Position)>,
    /// Where to read on.
    pub next: Position,
    /// Places where something else stood, and nobody knew of it.
    pub damaged: u64,
}

/// One segment, up to what is known to be on disk.
struct Segment<'a> {
    file: &'a File,
    number: u64,
    seal: Seal,
    end: u64,
}

impl Backlog {
    /// Nothing is open yet; of the places `told` nothing is said again.
    pub fn new(directory: Arc<Directory>, told: BTreeSet<Position>) -> Self {
        Self { directory, open: None, told }
    }

    /// The next records behind `from`, at most `most` and about a mebibyte of one segment; none at the end of `ends`,
    /// or where nothing can be read but what was skipped.
    ///
    /// # Errors
    /// If a file, which is told, cannot be read.
    pub fn read(
        &mut self,
        from: Position,
        ends: &BTreeMap<u64, u64>,
        most: usize,
    ) -> Result<Piece, (PathBuf, io::Error)> {
        let is_behind = |(segment, end): &(&u64, &u64)| {
            **segment > from.segment || (**segment == from.segment && from.offset < **end)
        };
        let Some((number, end)) = ends.iter().find(is_behind) else {
            return Ok(Piece { next: from, ..Piece::default() });
        };
        let start = if *number == from.segment { from.offset } else { 0 };
        self.read_segment(*number, start, *end, most)
            .map_err(|error| (self.directory.file(*number), error))
    }

    fn read_segment(
        &mut self,
        number: u64,
        start: u64,
        end: u64,
        most: usize,
    ) -> io::Result<Piece> {
        let directory = self.directory.clone();
        let seal = header::seal(&directory.stream, number);
        let segment = Segment { file: self.file(number)?, number, seal, end };
        let begin = segment.begin(&directory, start)?;
        let mut piece = segment.piece(begin, most)?;
        if piece.damaged > 0 {
            if !self.told.insert(Position { segment: number, offset: begin }) {
                piece.damaged = 0;
                return Ok(piece);
            }
            let kept = directory.keep_damaged(number)?;
            let (file, offset) = (kept.display(), begin);
            tracing::error!(
                %file, offset,
                "a segment of the outbox is damaged: its readable records are sent, its bytes are kept in the file"
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
    /// Where the records begin, of a segment that is read from `start` on.
    fn begin(&self, directory: &Directory, start: u64) -> io::Result<u64> {
        let header = header::write(&directory.stream, self.number);
        let length = header.len() as u64;
        if start > 0 || self.bytes(0, length)? != header { Ok(start) } else { Ok(length) }
    }

    /// The records of one piece.
    fn piece(&self, start: u64, most: usize) -> io::Result<Piece> {
        let mut piece = Piece { next: self.at(start), ..Piece::default() };
        let mut bytes = self.bytes(start, PIECE)?;
        while piece.records.len() < most {
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
                // What follows is for the next piece.
                Frame::Cut { .. } | Frame::Damaged if !piece.records.is_empty() => break,
                Frame::Cut { needs } if rest.len() < needs && offset + needs as u64 <= self.end => {
                    bytes = self.bytes(start, offset - start + needs as u64)?;
                }
                Frame::Cut { .. } | Frame::Damaged | Frame::Whole { .. } => {
                    piece.damaged += 1;
                    piece.next = self.at(self.behind(offset)?);
                    break;
                }
            }
        }
        Ok(piece)
    }

    /// Where the next whole record begins behind the damage at `offset`, or where the segment ends.
    fn behind(&self, offset: u64) -> io::Result<u64> {
        let rest = self.bytes(offset, self.end - offset)?;
        // The damage itself may be a frame whose body is no record.
        let found = self.seal.find(offset + 1, rest.get(1..).unwrap_or_default());
        Ok(found.map_or(self.end, |skipped| offset + 1 + skipped as u64))
    }

    fn at(&self, offset: u64) -> Position {
        Position { segment: self.number, offset }
    }

    /// At most `length` bytes from `offset` on.
    fn bytes(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length = length.min(self.end.saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}
