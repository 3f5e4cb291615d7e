//! Writes records to the segments: many with one write and one sync, and none is told to be kept before that.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use crate::config::OutboxConfig;

use super::directory::Directory;
use super::frame::{OVERHEAD, Seal};
use super::header;
use super::mark::Position;
use super::queue::{Body, Queue};

/// Segments are this long, or a sixteenth of the cap.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Why a record was not kept.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// It would have been more than the cap.
    Full,
    /// The disk.
    Failed(Arc<io::Error>),
}

/// The one that writes.
pub(super) struct Writer {
    directory: Arc<Directory>,
    queue: Arc<Queue>,
    cap: u64,
    /// Bytes after which a new segment begins.
    segment: u64,
    /// The number of the last segment.
    last: u64,
    open: Option<Open>,
    sync: fn(&File) -> io::Result<()>,
}

/// The segment that is written to.
struct Open {
    file: File,
    seal: Seal,
    /// Where what is kept ends; 0: nothing stands there yet, not even a header.
    end: u64,
}

impl Writer {
    /// Writes behind segment `last`, in a new one: what a crash left is never written to.
    pub fn new(
        directory: Arc<Directory>,
        queue: Arc<Queue>,
        config: &OutboxConfig,
        last: u64,
    ) -> Self {
        let cap = config.max_bytes;
        let segment = LONGEST.min(cap / 16);
        Self { directory, queue, cap, segment, last, open: None, sync: File::sync_data }
    }

    /// Writes `records` and syncs; answers in their order where each one ends, or why it was not kept.
    pub fn append(&mut self, records: &[Body]) -> Vec<Result<Position, Refused>> {
        let mut results = Vec::with_capacity(records.len());
        let mut begin = 0;
        let mut stored = self.queue.stored();
        while let Some(first) = records.get(begin) {
            let header = self.header();
            let mut end = self.open.as_ref().map_or(header, |open| open.end);
            if self.open.is_some() && end + size(first) > self.segment {
                let freed = self.close(Position { segment: self.last, offset: end });
                (end, stored) = (header, stored.saturating_sub(freed));
            }
            let begun = if self.open.is_some() { 0 } else { header };
            let (mut count, before) = (0, stored);
            stored += begun;
            for record in &records[begin..] {
                let size = size(record);
                let is_full = stored + size > self.cap;
                if is_full || (count > 0 && end + size > self.segment) {
                    break;
                }
                (end, stored, count) = (end + size, stored + size, count + 1);
            }
            if count == 0 {
                results.push(Err(Refused::Full));
                (begin, stored) = (begin + 1, before);
                continue;
            }
            let chunk = &records[begin..begin + count];
            match self.write(chunk) {
                Ok(positions) => results.extend(positions.into_iter().map(Ok)),
                Err(error) => {
                    let refused = Refused::Failed(Arc::new(error));
                    results.extend(chunk.iter().map(|_| Err(refused.clone())));
                }
            }
            begin += count;
        }
        results
    }

    /// Bytes of a header, whatever the segment's number.
    fn header(&self) -> u64 {
        header::write(&self.directory.stream, 0).len() as u64
    }

    /// Writes one chunk. Where that fails the segment is left as it was and not written to any more, and a new one is
    /// tried once.
    fn write(&mut self, chunk: &[Body]) -> io::Result<Vec<Position>> {
        let was_open = self.open.is_some();
        match self.try_write(chunk) {
            Err(_) if was_open => self.try_write(chunk),
            result => result,
        }
    }

    fn try_write(&mut self, chunk: &[Body]) -> io::Result<Vec<Position>> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        let (start, mut bytes, mut positions) = (open.end, Vec::new(), Vec::new());
        if start == 0 {
            bytes = header::write(&self.directory.stream, self.last);
        }
        for record in chunk {
            open.seal.write(start + bytes.len() as u64, record, &mut bytes);
            let offset = start + bytes.len() as u64;
            positions.push(Position { segment: self.last, offset });
        }
        match self.put(&open, &bytes) {
            Ok(()) => {
                self.queue.metrics.kept(chunk.len() as u64);
                open.end = start + bytes.len() as u64;
                self.open = Some(open);
                Ok(positions)
            }
            Err(error) => {
                self.abandon(&open);
                Err(error)
            }
        }
    }

    /// Writes no more to the segment that is written to, and ends at `end`; where all of it is sent, it takes no room
    /// any more. Answers how much that frees.
    fn close(&mut self, end: Position) -> u64 {
        self.open = None;
        let before = self.queue.stored();
        for segment in self.queue.closed(end) {
            self.directory.remove(segment);
        }
        before.saturating_sub(self.queue.stored())
    }

    fn begin(&mut self) -> io::Result<Open> {
        self.last += 1;
        let file = self.directory.create(self.last)?;
        let seal = header::seal(&self.directory.stream, self.last);
        Ok(Open { file, seal, end: 0 })
    }

    fn put(&self, open: &Open, bytes: &[u8]) -> io::Result<()> {
        open.file.write_all_at(bytes, open.end)?;
        self.queue.metrics.synced();
        (self.sync)(&open.file)?;
        if open.file.metadata()?.nlink() == 0 {
            return Err(io::Error::new(io::ErrorKind::NotFound, "somebody removed the file"));
        }
        if open.end == 0 {
            self.queue.metrics.synced();
            self.directory.sync()?;
        }
        Ok(())
    }

    /// Removes what was not kept. Where that fails too, a start after a crash may find it, and send it.
    fn abandon(&self, open: &Open) {
        if open.end == 0 {
            self.directory.remove(self.last);
        } else if let Err(error) = open.file.set_len(open.end) {
            let file = self.directory.file(self.last);
            let file = file.display();
            tracing::warn!(%file, %error, "a failed write to the outbox cannot be taken back");
        }
    }
}

/// Bytes that a record takes.
fn size(record: &Body) -> u64 {
    (OVERHEAD + record.len()) as u64
}

#[cfg(test)]
mod tests;
