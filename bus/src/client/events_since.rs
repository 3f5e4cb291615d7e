//! Reading a stream's events page by page: no event is acknowledged, and no group changes.

use eventbus_core::event::{RawEntry, StreamEvent, TypeFilter, Unreadable};
use eventbus_core::names::{EntryId, GroupName, StreamKey};

use crate::error::Error;
use crate::redis::reply;

use super::EventBus;

const READ: &str = "read events";

/// Maximum number of events and unreadable entries in a page.
const MAX_PAGE_EVENTS: usize = 1_000;
/// Maximum size of the entries read for a page, in bytes, field names included. A single entry may be larger.
pub const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Maximum number of entries read for a page, those of other types included.
const MAX_PAGE_ENTRIES: usize = 10_000;
/// Maximum number of entries in one read.
const MAX_AT_ONCE: usize = 128;

/// Page of events, in the order of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// The events, of the types that the group declares.
    pub events: Vec<StreamEvent>,
    /// Entries in the same range that cannot be decoded as events. A consumer stores such entries as dead letters.
    pub unreadable: Vec<(EntryId, Unreadable)>,
    /// `true` if unread entries follow, of any type.
    pub more: bool,
    /// The last entry that was read: the next page starts after it.
    pub next: EntryId,
}

impl EventBus {
    /// Reads a page of the events after entry `since`, of the types that `group` declares. [`EntryId::ZERO`] is before the
    /// first entry. It acknowledges nothing, changes no group and needs no write permission.
    ///
    /// The types are those of the group's declaration in `P:eventbus:groups`; without one, all types. Group and stream may
    /// be missing. A page ends before it exceeds 1,000 events, [`MAX_PAGE_BYTES`] or 10,000 entries of any type, so it may
    /// be empty while [`more`](EventPage::more) is `true`: continue from [`next`](EventPage::next).
    ///
    /// ```no_run
    /// # async fn all(bus: eventbus::EventBus, group: eventbus::GroupName) -> Result<(), eventbus::Error> {
    /// let mut page = bus.get_events_since(&group, eventbus::EntryId::ZERO).await?;
    /// while page.more {
    ///     page = bus.get_events_since(&group, page.next).await?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Stream`], with the code `WRONGTYPE` if the key holds something else and `NOPERM` without permission to read;
    /// [`Error::Key`] or [`Error::Declaration`] if the declaration cannot be read; [`Error::File`], [`Error::Connect`] or
    /// [`Error::BreakerOpen`] without a connection; [`Error::TimedOut`] if one of the reads takes longer than
    /// [`CALL_TIMEOUT`](super::CALL_TIMEOUT).
    pub async fn get_events_since(
        &self,
        group: &GroupName,
        since: EntryId,
    ) -> Result<EventPage, Error> {
        let types = self.declaration(group).await?.types;
        let mut builder = PageBuilder::new(self.stream(), types, since);
        loop {
            let count = builder.next_count();
            let entries = self.entries_after(builder.page.next, count).await?;
            let is_end = entries.len() < count;
            for entry in entries {
                if let Err(PageFull) = builder.add(entry) {
                    builder.page.more = true;
                    return Ok(builder.page);
                }
            }
            if is_end {
                return Ok(builder.page);
            }
        }
    }

    async fn entries_after(&self, id: EntryId, count: usize) -> Result<Vec<RawEntry>, Error> {
        // Redis refuses a range that starts after the maximum ID.
        if id == EntryId::MAX {
            return Ok(Vec::new());
        }
        let stream = self.stream();
        let mut command = redis::cmd("XRANGE");
        command.arg(stream.as_str()).arg(format!("({id}")).arg("+").arg("COUNT").arg(count);
        let read = |mut conn| async move {
            let answer = command.query_async(&mut conn).await;
            let stream = stream.clone();
            answer.map_err(|source| Error::Stream {
                operation: READ,
                stream,
                source: source.into(),
            })
        };
        let answer = self.call(READ, read).await?;
        reply::entries(answer).ok_or_else(|| {
            let stream = stream.clone();
            Error::Reply { operation: READ, stream, missing: "entries" }
        })
    }
}

/// Refusal of an entry that does not fit into the page.
#[derive(Debug, PartialEq, Eq)]
struct PageFull;

/// Builder of a page.
struct PageBuilder<'a> {
    stream: &'a StreamKey,
    types: TypeFilter,
    page: EventPage,
    read: usize,
    bytes: usize,
    /// Size of the largest entry so far, in bytes.
    largest: usize,
}

impl<'a> PageBuilder<'a> {
    fn new(stream: &'a StreamKey, types: TypeFilter, since: EntryId) -> Self {
        let (events, unreadable) = (Vec::new(), Vec::new());
        let page = EventPage { events, unreadable, more: false, next: since };
        Self { stream, types, page, read: 0, bytes: 0, largest: 0 }
    }

    fn listed(&self) -> usize {
        self.page.events.len() + self.page.unreadable.len()
    }

    /// Returns the number of entries to read next: it doubles with each read, as far as entries of the largest size so far
    /// would fit into the page. At least 1, to find out whether more entries follow.
    fn next_count(&self) -> usize {
        let fitting = MAX_PAGE_BYTES.saturating_sub(self.bytes) / self.largest.max(1);
        let listed = MAX_PAGE_EVENTS - self.listed();
        (self.read + 1).min(MAX_AT_ONCE).min(fitting).min(listed).max(1)
    }

    fn add(&mut self, entry: RawEntry) -> Result<(), PageFull> {
        let size = entry.fields().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let is_too_much = self.bytes + size > MAX_PAGE_BYTES && self.read > 0;
        if is_too_much || self.read == MAX_PAGE_ENTRIES || self.listed() == MAX_PAGE_EVENTS {
            return Err(PageFull);
        }
        self.read += 1;
        self.bytes += size;
        self.largest = self.largest.max(size);
        self.page.next = entry.id();
        let id = entry.id();
        if entry.event_type().is_some_and(|event_type| !self.types.matches(event_type)) {
            return Ok(());
        }
        match StreamEvent::decode(self.stream, entry) {
            Ok(event) => self.page.events.push(event),
            Err(error) => self.page.unreadable.push((id, error)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ms: u64, event_type: &str, payload: usize) -> RawEntry {
        let payload = format!("\"{}\"", "x".repeat(payload)).into_bytes();
        let fields = vec![
            (b"type".to_vec(), event_type.as_bytes().to_vec()),
            (b"payload".to_vec(), payload),
        ];
        RawEntry::new(EntryId { ms, seq: 0 }, fields)
    }

    fn builder<'a>(stream: &'a StreamKey, types: &[&str]) -> PageBuilder<'a> {
        let types = TypeFilter::parse(types.iter().copied()).unwrap();
        PageBuilder::new(stream, types, EntryId::ZERO)
    }

    fn stream() -> StreamKey {
        StreamKey::new("s").unwrap()
    }

    #[test]
    fn reads_double_and_never_exceed_the_space_left_in_the_page() {
        let stream = stream();
        let mut builder = builder(&stream, &[]);
        let mut counts = Vec::new();
        let mut ms = 0;
        while counts.len() < 9 {
            counts.push(builder.next_count());
            for _ in 0..builder.next_count() {
                ms += 1;
                builder.add(entry(ms, "a", 10)).unwrap();
            }
        }
        assert_eq!(counts, [1, 2, 4, 8, 16, 32, 64, 128, 128]);
        builder.add(entry(ms + 1, "a", 5 * 1024 * 1024)).unwrap();
        assert_eq!(builder.next_count(), 1);
    }

    #[test]
    fn an_entry_larger_than_a_page_has_a_page_of_its_own() {
        let stream = stream();
        let mut builder = builder(&stream, &[]);
        assert_eq!(builder.add(entry(1, "a", MAX_PAGE_BYTES)), Ok(()));
        assert_eq!(builder.add(entry(2, "a", 1)), Err(PageFull));
        assert_eq!(builder.page.next, EntryId { ms: 1, seq: 0 });
    }

    #[test]
    fn entries_of_other_types_count_as_read_but_not_as_listed() {
        let stream = stream();
        let mut builder = builder(&stream, &["b"]);
        for ms in 1..=MAX_PAGE_ENTRIES as u64 {
            assert_eq!(builder.add(entry(ms, "a", 1)), Ok(()));
        }
        assert_eq!(builder.add(entry(20_000, "b", 1)), Err(PageFull));
        assert_eq!((builder.listed(), builder.page.next.ms), (0, 10_000));
    }

    #[test]
    fn a_page_lists_a_thousand_events_at_most() {
        let stream = stream();
        let mut builder = builder(&stream, &[]);
        for ms in 1..=1_000 {
            assert_eq!(builder.add(entry(ms, "a", 1)), Ok(()));
        }
        assert_eq!((builder.next_count(), builder.add(entry(1_001, "a", 1))), (1, Err(PageFull)));
    }
}
