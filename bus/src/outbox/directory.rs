//! Directory of the outbox: its lock, its segments, and recovery after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use eventbus_core::names::StreamKey;

use crate::error::Error;

use super::frame::Scan;
use super::header::{self, Header};
use super::mark::{Mark, Position};

/// Directory of the outbox, locked for this process while the value exists.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    pub stream: StreamKey,
    _lock: File,
}

/// Content of the directory at the start.
#[derive(Debug)]
pub(super) struct Found {
    /// Ends of the segments with unsent records.
    pub ends: BTreeMap<u64, u64>,
    /// Position of the first unsent record.
    pub next: Position,
    pub records: u64,
    /// Positions of damaged bytes.
    pub damaged: BTreeSet<Position>,
    /// The highest number of a segment so far.
    pub last: u64,
    pub mark: Mark,
}

impl Directory {
    /// Creates the directory if it is missing, and locks it.
    ///
    /// # Errors
    /// [`Error::OutboxTaken`], [`Error::OutboxFile`].
    pub fn lock(path: &Path, stream: &StreamKey) -> Result<Self, Error> {
        create_directory(path).map_err(|source| failed("create the directory", path, source))?;
        let file = path.join("lock");
        let lock = private().create(true).write(true).open(&file);
        let lock = lock.map_err(|source| failed("open", &file, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), stream: stream.clone(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::OutboxTaken { dir: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &file, source)),
        }
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a segment's file.
    pub fn file(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:020}.log"))
    }

    /// Creates a new, empty file for a segment.
    ///
    /// # Errors
    /// If the file exists or cannot be created.
    pub fn create(&self, segment: u64) -> io::Result<File> {
        private().create_new(true).read(true).write(true).open(self.file(segment))
    }

    /// Syncs the directory, so that new files survive a crash.
    ///
    /// # Errors
    /// If the sync fails.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Copies a damaged segment to a file for manual inspection and returns its path. The segment's readable records are
    /// sent as usual.
    ///
    /// # Errors
    /// If the copy fails.
    pub fn copy_damaged(&self, segment: u64) -> io::Result<PathBuf> {
        let file = self.file(segment);
        let copy = file.with_extension("log.damaged");
        if copy.exists() {
            return Ok(copy);
        }
        // Some file systems have no hard links.
        fs::hard_link(&file, &copy).or_else(|_| fs::copy(&file, &copy).map(|_| ()))?;
        Ok(copy)
    }

    /// Recovers the segments: removes sent ones, cuts off writes that a crash left incomplete, and copies and logs damaged
    /// ones.
    ///
    /// # Errors
    /// [`Error::OutboxForeign`], [`Error::OutboxFile`].
    pub fn recover(&self) -> Result<Found, Error> {
        let (mark, sent) = self.mark(&self.stream)?;
        let (next, last) = (sent.unwrap_or_default(), sent.map_or(0, |sent| sent.segment));
        let (ends, damaged) = (BTreeMap::new(), BTreeSet::new());
        let mut found = Found { ends, next, records: 0, damaged, last, mark };
        for segment in self.segments()? {
            found.last = found.last.max(segment);
            if self.is_sent(segment, next)? {
                self.remove(segment);
                continue;
            }
            let from = if segment == next.segment { next.offset } else { 0 };
            let scan = self.scan(segment, from)?;
            let at = |range: &Range<u64>| Position { segment, offset: range.start };
            found.damaged.extend(scan.damaged.iter().map(at));
            if scan.records == 0 {
                self.remove(segment);
            } else {
                found.records += scan.records;
                found.ends.insert(segment, scan.end);
            }
        }
        Ok(found)
    }

    /// Reads the sent position of a stream's events.
    fn mark(&self, stream: &StreamKey) -> Result<(Mark, Option<Position>), Error> {
        let path = self.path.join("sent");
        let file = private().create(true).read(true).write(true).open(&path);
        let opened = file.and_then(|file| Mark::open(file, stream));
        opened.map_err(|source| failed("read", &path, source))
    }

    /// Returns `true` if a segment is no longer needed, because everything before `next` is sent.
    ///
    /// # Errors
    /// [`Error::OutboxForeign`] if the segment belongs to another version, stream or position.
    fn is_sent(&self, segment: u64, next: Position) -> Result<bool, Error> {
        let path = self.file(segment);
        let read = || -> io::Result<(Vec<u8>, u64)> {
            let (file, mut begin) = (File::open(&path)?, Vec::new());
            let end = file.metadata()?.len();
            file.take(header::MAX_HEADER).read_to_end(&mut begin)?;
            Ok((begin, end))
        };
        let (begin, offset) = read().map_err(|source| failed("read", &path, source))?;
        match header::read(&begin, &self.stream, segment) {
            Header::Ours | Header::Cut | Header::Damaged => Ok(segment < next.segment),
            Header::Foreign { found, expected } => {
                Err(Error::OutboxForeign { path, found, expected })
            }
            // The last segment of a stream is removed some time after it is sent.
            Header::OtherStream(other) => match self.mark(&other)?.1 {
                Some(sent) if sent >= (Position { segment, offset }) => Ok(true),
                _ => {
                    let (found, expected) =
                        (format!("stream {other}"), format!("stream {}", self.stream));
                    Err(Error::OutboxForeign { path, found, expected })
                }
            },
        }
    }

    /// Removes a segment. A failure is logged; the next start tries again.
    pub fn remove(&self, segment: u64) {
        let file = self.file(segment);
        if let Err(error) = fs::remove_file(&file) {
            let file = file.display();
            tracing::warn!(%file, %error, "cannot remove a sent segment of the outbox; retrying at the next start");
        }
    }

    fn segments(&self) -> Result<Vec<u64>, Error> {
        let list = || -> io::Result<Vec<u64>> {
            let mut segments = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let name = entry?.file_name();
                let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
                segments.extend(number.and_then(|number| number.parse::<u64>().ok()));
            }
            segments.sort_unstable();
            Ok(segments)
        };
        list().map_err(|source| failed("list", &self.path, source))
    }

    fn scan(&self, segment: u64, from: u64) -> Result<Scan, Error> {
        let file = self.file(segment);
        let bytes = fs::read(&file).map_err(|source| failed("read", &file, source))?;
        let seal = header::seal(&self.stream, segment);
        let begin = header::write(&self.stream, segment).len() as u64;
        let scan = match header::read(&bytes, &self.stream, segment) {
            Header::Ours => seal.scan(&bytes, from.max(begin)),
            Header::Damaged => seal.scan(&bytes, from),
            // `is_sent` has refused the others.
            _ => Scan { torn: bytes.len() as u64, ..Scan::default() },
        };
        if scan.torn > 0 {
            let (file, bytes) = (file.display(), scan.torn);
            tracing::warn!(%file, bytes, "removed an incomplete write at the end of the outbox, left by a crash");
        }
        if scan.torn > 0 && scan.records > 0 {
            self.cut(&file, scan.end).map_err(|source| failed("truncate", &file, source))?;
        }
        if !scan.damaged.is_empty() {
            let copy = self.copy_damaged(segment);
            let copy = copy.map_err(|source| failed("copy the damaged file", &file, source))?;
            log_damaged(&copy, &scan);
        }
        Ok(scan)
    }

    fn cut(&self, file: &Path, end: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(file)?;
        file.set_len(end)?;
        file.sync_data()
    }
}

/// Creates a directory with its parents, and syncs the parent of each new one.
fn create_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    // Events may hold personal data, so that only the owner may read them.
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for created in missing {
        let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn log_damaged(copy: &Path, scan: &Scan) {
    let (file, places) = (copy.display(), scan.damaged.len());
    let bytes: u64 = scan.damaged.iter().map(|range| range.end - range.start).sum();
    let first = scan.damaged.first().map(|range| range.start);
    let records = scan.records;
    tracing::error!(
        %file, places, bytes, first, records,
        "a segment of the outbox is damaged: its readable records are sent, and the file is a copy of all its bytes"
    );
}

/// Returns options for a file that only its owner may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Returns the error of an operation on a file.
pub(super) fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::OutboxFile { operation, path: path.to_owned(), source }
}
