//! A peek at the events of a stream: nothing is acknowledged, and no group moves.

use eventbus_core::event::{RawEntry, StreamEvent, TypeFilter, Unreadable};
use eventbus_core::names::{EntryId, GroupName, StreamKey};

use crate::error::Error;
use crate::redis::reply;

use super::EventBus;

const PEEK: &str = "read events";

/// Most events of a page, unreadable entries included.
const MAX_PAGE_EVENTS: usize = 1_000;
/// Bytes of entries, their field names included, for which a page is read; a single entry may be larger.
pub const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Entries, those of unwanted types included, for which a page is read.
const MAX_PAGE_ENTRIES: usize = 10_000;
/// Entries that are asked for at once, where the sizes seen so far allow it.
const MOST_AT_ONCE: usize = 128;

/// Some events of a stream, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// The events of the types that the group wants.
    pub events: Vec<StreamEvent>,
    /// Entries between them that cannot be read as events; a group gets them as dead letters.
    pub unreadable: Vec<(EntryId, Unreadable)>,
    /// `true` if entries of any type follow that were not read.
    pub more: bool,
    /// The last entry that was looked at: what follows it is the next page.
    pub next: EntryId,
}

impl EventBus {
    /// A page of the events after entry `since` that `group` wants, without any group noticing: nothing is
    /// acknowledged and nothing moves. [`EntryId::ZERO`] is before the first one. Needs no right to write.
    ///
    /// The types are those of the group's field in `P:eventbus:groups`, all where there is none; neither the group nor the
    /// stream need exist. A page ends before it has 1,000 events, [`MAX_PAGE_BYTES`], or 10,000 entries of any type, so that
    /// it may be empty although [`more`](EventPage::more) follows: go on from [`next`](EventPage::next).
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
    /// [`Error::Stream`], with the code `WRONGTYPE` where the key holds something else and `NOPERM` without the right
    /// to read it; [`Error::Key`] or [`Error::Declaration`] where it cannot be read which types the group wants;
    /// [`Error::File`], [`Error::Connect`] and [`Error::BreakerOpen`] without a connection; [`Error::TimedOut`] where Redis takes
    /// [`CALL_TIMEOUT`](super::CALL_TIMEOUT) for one of the reads that make a page.
    pub async fn get_events_since(
        &self,
        group: &GroupName,
        since: EntryId,
    ) -> Result<EventPage, Error> {
        let types = self.declaration(group).await?.types;
        let mut filling = Filling::new(self.stream(), types, since);
        loop {
            let asked = filling.count();
            let entries = self.entries_after(filling.page.next, asked).await?;
            let is_end = entries.len() < asked;
            for entry in entries {
                if let Err(Full) = filling.add(entry) {
                    filling.page.more = true;
                    return Ok(filling.page);
                }
            }
            if is_end {
                return Ok(filling.page);
            }
        }
    }

    async fn entries_after(&self, id: EntryId, count: usize) -> Result<Vec<RawEntry>, Error> {
        // Redis refuses an interval that begins after this.
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
                operation: PEEK,
                stream,
                source: source.into(),
            })
        };
        let answer = self.call(PEEK, read).await?;
        reply::entries(answer).ok_or_else(|| {
            let stream = stream.clone();
            Error::Reply { operation: PEEK, stream, missing: "entries" }
        })
    }
}

/// The page has no room for an entry.
#[derive(Debug, PartialEq, Eq)]
struct Full;

/// A page that is being filled.
struct Filling<'a> {
    stream: &'a StreamKey,
    types: TypeFilter,
    page: EventPage,
    looked_at: usize,
    bytes: usize,
    /// Of the largest entry so far.
    largest: usize,
}

impl<'a> Filling<'a> {
    fn new(stream: &'a StreamKey, types: TypeFilter, since: EntryId) -> Self {
        let (events, unreadable) = (Vec::new(), Vec::new());
        let page = EventPage { events, unreadable, more: false, next: since };
        Self { stream, types, page, looked_at: 0, bytes: 0, largest: 0 }
    }

    fn listed(&self) -> usize {
        self.page.events.len() + self.page.unreadable.len()
    }

    /// Entries to ask for next: as many as were seen already, if the largest of those may come as often as that, and
    /// at least one, which tells whether more follow.
    fn count(&self) -> usize {
        let fitting = MAX_PAGE_BYTES.saturating_sub(self.bytes) / self.largest.max(1);
        let listed = MAX_PAGE_EVENTS - self.listed();
        (self.looked_at + 1).min(MOST_AT_ONCE).min(fitting).min(listed).max(1)
    }

    fn add(&mut self, entry: RawEntry) -> Result<(), Full> {
        let size = entry.fields().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let is_too_much = self.bytes + size > MAX_PAGE_BYTES && self.looked_at > 0;
        if is_too_much || self.looked_at == MAX_PAGE_ENTRIES || self.listed() == MAX_PAGE_EVENTS {
            return Err(Full);
        }
        self.looked_at += 1;
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

    fn filling<'a>(stream: &'a StreamKey, types: &[&str]) -> Filling<'a> {
        let types = TypeFilter::parse(types.iter().copied()).unwrap();
        Filling::new(stream, types, EntryId::ZERO)
    }

    fn stream() -> StreamKey {
        StreamKey::new("s").unwrap()
    }

    #[test]
    fn reads_grow_with_what_was_seen_and_never_beyond_the_room_that_is_left() {
        let stream = stream();
        let mut filling = filling(&stream, &[]);
        let mut counts = Vec::new();
        let mut ms = 0;
        while counts.len() < 9 {
            counts.push(filling.count());
            for _ in 0..filling.count() {
                ms += 1;
                filling.add(entry(ms, "a", 10)).unwrap();
            }
        }
        assert_eq!(counts, [1, 2, 4, 8, 16, 32, 64, 128, 128]);
        filling.add(entry(ms + 1, "a", 5 * 1024 * 1024)).unwrap();
        assert_eq!(filling.count(), 1);
    }

    #[test]
    fn an_entry_larger_than_a_page_comes_alone() {
        let stream = stream();
        let mut filling = filling(&stream, &[]);
        assert_eq!(filling.add(entry(1, "a", MAX_PAGE_BYTES)), Ok(()));
        assert_eq!(filling.add(entry(2, "a", 1)), Err(Full));
        assert_eq!(filling.page.next, EntryId { ms: 1, seq: 0 });
    }

    #[test]
    fn unwanted_entries_count_for_the_look_but_not_for_the_list() {
        let stream = stream();
        let mut filling = filling(&stream, &["b"]);
        for ms in 1..=MAX_PAGE_ENTRIES as u64 {
            assert_eq!(filling.add(entry(ms, "a", 1)), Ok(()));
        }
        assert_eq!(filling.add(entry(20_000, "b", 1)), Err(Full));
        assert_eq!((filling.listed(), filling.page.next.ms), (0, 10_000));
    }

    #[test]
    fn a_page_lists_a_thousand_events_at_most() {
        let stream = stream();
        let mut filling = filling(&stream, &[]);
        for ms in 1..=1_000 {
            assert_eq!(filling.add(entry(ms, "a", 1)), Ok(()));
        }
        assert_eq!((filling.count(), filling.add(entry(1_001, "a", 1))), (1, Err(Full)));
    }
}
