//! Entries that were delivered to this consumer by a reply that it never got: found in the pending list and given back, so
//! that they are claimed again, and those that no reply can carry.

use std::time::Duration;

use super::in_flight::{EntryState, Stage};
use super::lost::LostReply;
use super::machine::Machine;
use super::mode::Mode;
use super::{Cut, DelayRequest, EntryRef, Moment, Output, PendingEntry, Pool, Source};

/// Entries listed beyond those that are known.
const PAGE: usize = 256;

impl Machine {
    /// Notes the commands whose replies are lost with their connection, and adapts the size of the next ones. The reply that
    /// was cut is that of the read, if it failed too: the other connection fails for it only where it is the other's.
    pub(super) fn lose_replies(&mut self, reading: bool, cut: Option<Cut>) {
        let outstanding = &self.outstanding;
        let read = outstanding.read.filter(|_| !reading).map(|count| (Source::Stream, None, count));
        let claim = outstanding.claim.map(|claim| (claim.source, Some(claim.pool), claim.count));
        let next = outstanding.fetch_next.then_some((Source::Stream, None, 1));
        let replies: Vec<_> = [read, claim, next].into_iter().flatten().collect();
        let is_only = replies.len() == 1;
        if let (Some(cut), Some((_, _, count))) = (cut, replies.first()) {
            self.fetch.pace.failed(*count, cut == Cut::Late);
        }
        let is_ordered = self.is_ordered();
        self.lost.extend(replies.into_iter().filter_map(|(source, pool, count)| {
            let is_alone = is_only && count == 1 && cut.is_some();
            // With order kept, the entry is the next one again; it is listed only to know which it is.
            let is_listed = is_alone || !is_ordered || source == Source::DeadLetters;
            is_listed.then_some(LostReply { source, pool, count, is_alone })
        }));
    }

    /// Notes that the read on an earlier connection failed.
    pub(super) fn on_read_failed(&mut self) {
        let count = self.outstanding.read.take().unwrap_or(0);
        self.lost.push(LostReply { source: Source::Stream, pool: None, count, is_alone: false });
    }

    /// Lists what is pending here, once nothing is on its way, for a source whose reply was lost.
    pub(super) fn list_pending(&mut self, out: &mut Vec<Output>) {
        let Some(lost) = self.lost.first() else { return };
        if self.outstanding.list.is_some() || !self.outstanding.fetches_nothing() {
            return;
        }
        let (source, of_source) =
            (lost.source, self.lost.iter().filter(|l| l.source == lost.source));
        let lost_entries: usize = of_source.map(|lost| lost.count).sum();
        let count = self.in_flight.len() + self.skipped.len() + lost_entries + PAGE;
        self.outstanding.list = Some((source, count));
        out.push(Output::ListPending { source, count });
    }

    pub(super) fn on_pending(
        &mut self,
        (source, entries): (Source, &[PendingEntry]),
        now: Moment,
        random: f64,
        out: &mut Vec<Output>,
    ) {
        let Some((_, asked)) = self.outstanding.list.take() else { return };
        let of_source = || self.lost.iter().filter(|lost| lost.source == source);
        let is_alone = of_source().any(|lost| lost.is_alone);
        let pool = if of_source().any(|lost| lost.pool == Some(Pool::Suspect)) {
            Some(Pool::Suspect)
        } else if of_source().all(|lost| lost.pool == Some(Pool::Delayed)) {
            Some(Pool::Delayed)
        } else {
            None
        };
        let unreceived: Vec<_> = entries
            .iter()
            .map(|entry| (EntryRef { source, id: entry.id }, entry.deliveries))
            .filter(|(entry, _)| !self.knows(*entry))
            .collect();
        let wait = match &unreceived[..] {
            [(entry, _)] if is_alone => self.on_unfetched(*entry, now, random, out),
            _ => Duration::ZERO,
        };
        match &mut self.mode {
            // The oldest pending entry is the next one, and nothing may overtake it.
            Mode::Ordered(mode) if source == Source::Stream => mode.next_fetch = now + wait,
            _ => {
                for (entry, deliveries) in unreceived {
                    self.give_back(entry, deliveries, (pool, wait), now);
                }
            }
        }
        if entries.len() < asked {
            self.lost.retain(|lost| lost.source != source);
        }
    }

    fn knows(&self, entry: EntryRef) -> bool {
        self.in_flight.get(entry).is_some() || self.skipped.iter().any(|(known, _)| *known == entry)
    }

    /// Notes that an entry could not be fetched alone. Returns the wait until it is tried again.
    fn on_unfetched(
        &mut self,
        entry: EntryRef,
        now: Moment,
        random: f64,
        out: &mut Vec<Output>,
    ) -> Duration {
        let backoff = &self.config.backoff;
        let wait = self.failures.record(entry, now, |retry| backoff.delay(retry, random));
        if wait.is_some() {
            out.push(Output::Unfetchable(entry));
        }
        wait.unwrap_or_default()
    }

    /// Gives an entry back that was not received: the delivery was no attempt. It goes to `pool`, the only one that it can
    /// have come from. Without one, an entry with no attempt left becomes a suspect, which is begun once more: delayed, it
    /// would be taken for a refused dead letter and be dead-lettered without a handler call.
    fn give_back(
        &mut self,
        entry: EntryRef,
        deliveries: u32,
        (pool, delay): (Option<Pool>, Duration),
        now: Moment,
    ) {
        // Another client may have raised the count.
        let attempts = deliveries.saturating_sub(1).min(self.config.max_attempts);
        let has_none_left = attempts >= self.config.max_attempts;
        let by_attempts = if has_none_left { Pool::Suspect } else { Pool::Delayed };
        let pool = pool.unwrap_or(by_attempts);
        let request = DelayRequest { id: entry.id, attempts, delay, pool };
        let state = EntryState {
            pool: None,
            since: now,
            leased_until: now,
            attempt: deliveries,
            bytes: 0,
            stage: Stage::Delaying { request, sent: false },
        };
        self.in_flight.insert(entry, state);
        if !delay.is_zero() {
            return;
        }
        match (&mut self.mode, entry.source) {
            _ if pool == Pool::Suspect => {
                if !self.suspects.contains(&entry.source) {
                    self.suspects.push(entry.source);
                }
            }
            (Mode::Unordered(mode), Source::Stream) => mode.next_claim = now,
            _ => self.replays.next_claim = now,
        }
    }
}
