//! The outbox's directory: its lock, its segments, and what of them is left after a crash.

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

/// A directory that this process alone uses, as long as anything of it is held.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    pub stream: StreamKey,
    _lock: File,
}

/// What was found at the start.
#[derive(Debug)]
pub(super) struct Found {
    /// Where the segments end that hold records to send.
    pub ends: BTreeMap<u64, u64>,
    /// Before the first record to send.
    pub next: Position,
    pub records: u64,
    /// Places where something else stood than records.
    pub damaged: BTreeSet<Position>,
    /// No segment had a higher number so far.
    pub last: u64,
    pub mark: Mark,
}

impl Directory {
    /// Makes the directory where it is missing, and locks it.
    ///
    /// # Errors
    /// [`Error::OutboxTaken`], [`Error::OutboxFile`].
    pub fn lock(path: &Path, stream: &StreamKey) -> Result<Self, Error> {
        make(path).map_err(|source| failed("make the directory", path, source))?;
        let file = path.join("lock");
        let lock = private().create(true).write(true).open(&file);
        let lock = lock.map_err(|source| failed("open", &file, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), stream: stream.clone(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::OutboxTaken { dir: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &file, source)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a segment.
    pub fn file(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:020}.log"))
    }

    /// Makes a new segment's file, with nothing in it.
    ///
    /// # Errors
    /// If there is one already, or none can be made.
    pub fn create(&self, segment: u64) -> io::Result<File> {
        private().create_new(true).read(true).write(true).open(self.file(segment))
    }

    /// Has the disk keep which files there are.
    ///
    /// # Errors
    /// If it cannot.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Keeps the bytes of a segment that has records and other things in it, for people: records are sent as ever.
    ///
    /// # Errors
    /// If they cannot be kept.
    pub fn keep_damaged(&self, segment: u64) -> io::Result<PathBuf> {
        let file = self.file(segment);
        let kept = file.with_extension("log.damaged");
        if kept.exists() {
            return Ok(kept);
        }
        // Not every file system can give a file a second name.
        fs::hard_link(&file, &kept).or_else(|_| fs::copy(&file, &kept).map(|_| ()))?;
        Ok(kept)
    }

    /// Looks at all that is there: removes what is sent, cuts off what a crash left half written, tells what is
    /// damaged.
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

    /// How far a stream's events are sent.
    fn mark(&self, stream: &StreamKey) -> Result<(Mark, Option<Position>), Error> {
        let path = self.path.join("sent");
        let file = private().create(true).read(true).write(true).open(&path);
        let opened = file.and_then(|file| Mark::open(file, stream));
        opened.map_err(|source| failed("read", &path, source))
    }

    /// Whether nobody needs a segment any more, where all before `next` is sent.
    ///
    /// # Errors
    /// [`Error::OutboxForeign`] where it holds what is not ours to judge.
    fn is_sent(&self, segment: u64, next: Position) -> Result<bool, Error> {
        let path = self.file(segment);
        let read = || -> io::Result<(Vec<u8>, u64)> {
            let (file, mut begin) = (File::open(&path)?, Vec::new());
            let end = file.metadata()?.len();
            file.take(header::MOST).read_to_end(&mut begin)?;
            Ok((begin, end))
        };
        let (begin, offset) = read().map_err(|source| failed("read", &path, source))?;
        match header::read(&begin, &self.stream, segment) {
            Header::Ours | Header::Cut | Header::Damaged => Ok(segment < next.segment),
            Header::Foreign { found, expected } => {
                Err(Error::OutboxForeign { path, found, expected })
            }
            // The last segment of a stream stays for a while after it is sent.
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

    /// Removes a segment; one that cannot be removed is tried again at the next start.
    pub fn remove(&self, segment: u64) {
        let file = self.file(segment);
        if let Err(error) = fs::remove_file(&file) {
            let file = file.display();
            tracing::warn!(%file, %error, "a segment of the outbox that nobody needs any more cannot be removed");
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
            // Others were refused before.
            _ => Scan { torn: bytes.len() as u64, ..Scan::default() },
        };
        if scan.torn > 0 {
            let (file, bytes) = (file.display(), scan.torn);
            tracing::warn!(%file, bytes, "the outbox's last write was cut off by a crash, and is removed");
        }
        if scan.torn > 0 && scan.records > 0 {
            self.cut(&file, scan.end).map_err(|source| failed("cut", &file, source))?;
        }
        if !scan.damaged.is_empty() {
            let kept = self.keep_damaged(segment);
            let kept = kept.map_err(|source| failed("keep a damaged copy of", &file, source))?;
            say_damaged(&kept, &scan);
        }
        Ok(scan)
    }

    fn cut(&self, file: &Path, end: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(file)?;
        file.set_len(end)?;
        file.sync_data()
    }
}

/// Makes a directory, and has the disk keep each one that was made.
fn make(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    // Events may be personal: nobody else's to read.
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn say_damaged(kept: &Path, scan: &Scan) {
    let (file, places) = (kept.display(), scan.damaged.len());
    let bytes: u64 = scan.damaged.iter().map(|range| range.end - range.start).sum();
    let first = scan.damaged.first().map(|range| range.start);
    let records = scan.records;
    tracing::error!(
        %file, places, bytes, first, records,
        "a segment of the outbox is damaged: its readable records are sent, its bytes are kept in the file"
    );
}

/// A file that its owner alone may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::OutboxFile { operation, path: path.to_owned(), source }
}
