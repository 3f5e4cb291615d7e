//! Writes records to the segments, many with one write and one sync. No record counts as stored before the sync.

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

/// Maximum size of a segment in bytes; a sixteenth of the outbox's maximum if that is less.
const MAX_SEGMENT: u64 = 16 * 1024 * 1024;

/// Reason for not storing a record.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// The outbox would exceed its maximum size.
    Full,
    /// The disk failed.
    Failed(Arc<io::Error>),
}

/// Writer of the outbox.
pub(super) struct Writer {
    directory: Arc<Directory>,
    queue: Arc<Queue>,
    cap: u64,
    /// Maximum size of a segment, in bytes.
    segment: u64,
    /// The number of the last segment.
    last: u64,
    open: Option<Open>,
    sync: fn(&File) -> io::Result<()>,
}

/// Segment that is being written.
struct Open {
    file: File,
    seal: Seal,
    /// End of the stored bytes; 0 if the segment has not even a header.
    end: u64,
}

impl Writer {
    /// Creates a writer that starts a new segment after `last`: segments from before a crash are never appended to.
    pub fn new(
        directory: Arc<Directory>,
        queue: Arc<Queue>,
        config: &OutboxConfig,
        last: u64,
    ) -> Self {
        let cap = config.max_bytes;
        let segment = MAX_SEGMENT.min(cap / 16);
        Self { directory, queue, cap, segment, last, open: None, sync: File::sync_data }
    }

    /// Writes `records` and syncs. Returns for each record its end position or the reason for not storing it.
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

    /// Returns the size of a header in bytes, which is the same for all segments.
    fn header(&self) -> u64 {
        header::write(&self.directory.stream, 0).len() as u64
    }

    /// Writes one chunk. If that fails, the segment keeps its previous content and is closed, and one attempt is made with
    /// a new segment.
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
                self.queue.metrics.stored(chunk.len() as u64);
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

    /// Closes the segment that is being written, which ends at `end`, and removes segments that are no longer needed.
    /// Returns the number of bytes freed.
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
            return Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed"));
        }
        if open.end == 0 {
            self.queue.metrics.synced();
            self.directory.sync()?;
        }
        Ok(())
    }

    /// Removes the bytes of a failed write. If that fails too, they may be found and sent after a restart.
    fn abandon(&self, open: &Open) {
        if open.end == 0 {
            self.directory.remove(self.last);
        } else if let Err(error) = open.file.set_len(open.end) {
            let file = self.directory.file(self.last);
            let file = file.display();
            tracing::warn!(%file, %error, "cannot undo a failed write to the outbox: its events may be sent after a restart");
        }
    }
}

/// Returns the size of a record in a segment, in bytes.
fn size(record: &Body) -> u64 {
    (OVERHEAD + record.len()) as u64
}

#[cfg(test)]
mod tests;
