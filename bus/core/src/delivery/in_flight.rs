//! The entries in flight: pending at this consumer, and not settled yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{DeadLetter, DelayRequest, Delivery, EntryRef, Moment, Pool, Source};

/// One entry in flight.
#[derive(Debug)]
pub(super) struct EntryState {
    /// Pool that it was claimed from; `None`: new.
    pub pool: Option<Pool>,
    /// Moment at which the command that brought it was sent.
    pub since: Moment,
    /// End of its lease: nothing starts or goes on past it.
    pub leased_until: Moment,
    /// The attempt that its handler call is.
    pub attempt: u32,
    /// Size of its fields in bytes.
    pub bytes: usize,
    pub stage: Stage,
}

/// Progress of an entry in flight. `sent`: the command is outstanding on the present connection.
#[derive(Debug)]
pub(super) enum Stage {
    /// Waiting for a free worker.
    Waiting(Arc<Delivery>),
    /// Its handler runs. `forgotten`: its group was lost, so the end of the call has no effect.
    Running {
        forgotten: bool,
    },
    /// Finished, to be acknowledged.
    Finished {
        sent: bool,
    },
    Delaying {
        request: DelayRequest,
        sent: bool,
    },
    DeadLettering {
        letter: DeadLetter,
        sent: bool,
    },
}

impl EntryState {
    /// Returns `true` if its lease is renewed, and ends the handler call: a handler has it or will have it.
    fn is_leased(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_) | Stage::Running { forgotten: false })
    }

    /// Returns the size of what is kept of the entry: a handler has its fields or will have them.
    fn kept_bytes(&self) -> usize {
        match self.stage {
            Stage::Waiting(_) | Stage::Running { .. } => self.bytes,
            _ => 0,
        }
    }

    /// Returns `true` if the entry is due for any consumer as soon as it is delayed.
    fn is_released(&self) -> bool {
        matches!(&self.stage, Stage::Delaying { request, .. } if request.delay.is_zero())
    }
}

/// The entries in flight, with an index by stage, so that an input costs no scan of all of them.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    entries: BTreeMap<EntryRef, EntryState>,
    index: Index,
}

/// Entries by stage.
#[derive(Debug, Default)]
struct Index {
    /// Those that a handler has or will have, by the end of their lease.
    leases: BTreeSet<(Moment, EntryRef)>,
    /// Those that wait for a worker: suspects and retries before new ones (`true`), the oldest first.
    waiting: BTreeSet<(bool, EntryRef)>,
    /// Those to acknowledge, with no acknowledgement outstanding.
    finished: BTreeSet<EntryRef>,
    /// Those to delay or to dead-letter, with no command outstanding.
    unsettled: BTreeSet<EntryRef>,
    waiting_new: usize,
    running: usize,
    /// Waiting or running, from the delayed pool.
    retrying: usize,
    suspects: usize,
    /// To be delayed by no time.
    released: usize,
    /// Size of all entries that a handler has or will have.
    bytes: usize,
}

impl Index {
    fn add(&mut self, entry: EntryRef, state: &EntryState) {
        if state.is_leased() {
            self.leases.insert((state.leased_until, entry));
        }
        match state.stage {
            Stage::Waiting(_) => {
                self.waiting.insert((state.pool.is_none(), entry));
            }
            Stage::Finished { sent: false } => {
                self.finished.insert(entry);
            }
            Stage::Delaying { sent: false, .. } | Stage::DeadLettering { sent: false, .. } => {
                self.unsettled.insert(entry);
            }
            _ => {}
        }
        self.count(state, |count| count + 1);
        self.bytes += state.kept_bytes();
    }

    fn remove(&mut self, entry: EntryRef, state: &EntryState) {
        self.leases.remove(&(state.leased_until, entry));
        self.waiting.remove(&(state.pool.is_none(), entry));
        self.finished.remove(&entry);
        self.unsettled.remove(&entry);
        self.count(state, |count| count - 1);
        self.bytes -= state.kept_bytes();
    }

    fn count(&mut self, state: &EntryState, change: impl Fn(usize) -> usize) {
        let waits = matches!(state.stage, Stage::Waiting(_));
        let runs = matches!(state.stage, Stage::Running { .. });
        let counts = [
            (&mut self.waiting_new, waits && state.pool.is_none()),
            (&mut self.running, runs),
            (&mut self.retrying, (waits || runs) && state.pool == Some(Pool::Delayed)),
            (&mut self.suspects, state.pool == Some(Pool::Suspect)),
            (&mut self.released, state.is_released()),
        ];
        for (count, _) in counts.into_iter().filter(|(_, applies)| *applies) {
            *count = change(*count);
        }
    }
}

impl InFlight {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, entry: EntryRef) -> Option<&EntryState> {
        self.entries.get(&entry)
    }

    pub fn insert(&mut self, entry: EntryRef, state: EntryState) {
        self.remove(entry);
        self.index.add(entry, &state);
        self.entries.insert(entry, state);
    }

    /// Removes an entry. Returns its state if it was in flight.
    pub fn remove(&mut self, entry: EntryRef) -> Option<EntryState> {
        let state = self.entries.remove(&entry)?;
        self.index.remove(entry, &state);
        Some(state)
    }

    /// Changes an entry. Returns what `change` returns, if the entry is in flight.
    pub fn update<T>(
        &mut self,
        entry: EntryRef,
        change: impl FnOnce(&mut EntryState) -> T,
    ) -> Option<T> {
        let state = self.entries.get_mut(&entry)?;
        self.index.remove(entry, state);
        let result = change(state);
        self.index.add(entry, state);
        Some(result)
    }

    /// Changes all entries and keeps those for which `change` returns `true`.
    pub fn retain(&mut self, mut change: impl FnMut(EntryRef, &mut EntryState) -> bool) {
        self.entries.retain(|entry, state| change(*entry, state));
        self.index = Index::default();
        for (entry, state) in &self.entries {
            self.index.add(*entry, state);
        }
    }

    /// Returns the end of the lease that ends first, of the entries that a handler has or will have.
    pub fn first_lease_end(&self) -> Option<Moment> {
        self.index.leases.first().map(|(end, _)| *end)
    }

    /// Returns the entries that a handler has or will have, and whose lease is over at `now`.
    pub fn expired(&self, now: Moment) -> Vec<EntryRef> {
        let over = self.index.leases.iter().take_while(|(end, _)| *end <= now);
        let mut entries: Vec<_> = over.map(|(_, entry)| *entry).collect();
        entries.sort_unstable();
        entries
    }

    /// Returns the entries whose lease a heartbeat renews: those that a handler has or will have.
    pub fn renewable(&self) -> Vec<EntryRef> {
        self.entries_with(EntryState::is_leased)
    }

    /// Returns the entries whose handler runs.
    pub fn in_handlers(&self) -> Vec<EntryRef> {
        self.entries_with(|state| matches!(state.stage, Stage::Running { .. }))
    }

    pub fn has_suspect(&self) -> bool {
        self.index.suspects > 0
    }

    /// Returns the size of the entries that a handler has or will have, in bytes.
    pub fn bytes(&self) -> usize {
        self.index.bytes
    }

    /// Returns `true` if an entry is on its way to the delayed ones that is due there at once.
    pub fn is_releasing(&self) -> bool {
        self.index.released > 0
    }

    pub fn running(&self) -> usize {
        self.index.running
    }

    pub fn waiting(&self) -> usize {
        self.index.waiting.len()
    }

    /// Returns the number of new entries that wait for a worker.
    pub fn waiting_new(&self) -> usize {
        self.index.waiting_new
    }

    /// Returns the number of entries from the delayed pool that have a worker or wait for one.
    pub fn retrying(&self) -> usize {
        self.index.retrying
    }

    /// Returns the entries to start next, at most `max`: suspects and retries before new ones, the oldest first.
    pub fn next_waiting(&self, max: usize) -> Vec<EntryRef> {
        self.index.waiting.iter().take(max).map(|(_, entry)| *entry).collect()
    }

    /// Returns all entries that wait for a worker.
    pub fn all_waiting(&self) -> Vec<EntryRef> {
        self.next_waiting(usize::MAX)
    }

    /// Returns the number of finished entries whose acknowledgement is not outstanding.
    pub fn finished(&self) -> usize {
        self.index.finished.len()
    }

    /// Returns the finished entries whose acknowledgement is not outstanding and that `select` selects.
    pub fn unacknowledged(&self, select: impl Fn(EntryRef, &EntryState) -> bool) -> Vec<EntryRef> {
        let open = self.index.finished.iter().copied();
        open.filter(|entry| self.get(*entry).is_some_and(|state| select(*entry, state))).collect()
    }

    /// Returns the entries to delay or to dead-letter for which no command is outstanding.
    pub fn unsettled(&self) -> Vec<EntryRef> {
        self.index.unsettled.iter().copied().collect()
    }

    /// Returns the only entry in flight, if it is of the stream and finished, and its acknowledgement is not outstanding.
    pub fn only_finished(&self) -> Option<EntryRef> {
        let entry = self.index.finished.first().filter(|_| self.len() == 1)?;
        (entry.source == Source::Stream).then_some(*entry)
    }

    fn entries_with(&self, select: impl Fn(&EntryState) -> bool) -> Vec<EntryRef> {
        self.entries.iter().filter(|(_, state)| select(state)).map(|(entry, _)| *entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::names::EntryId;

    fn entry(ms: u64) -> EntryRef {
        EntryRef { source: Source::Stream, id: EntryId { ms, seq: 0 } }
    }

    fn running(pool: Option<Pool>, lease: u64) -> EntryState {
        let leased_until = Moment::START + Duration::from_secs(lease);
        let stage = Stage::Running { forgotten: false };
        EntryState { pool, since: Moment::START, leased_until, attempt: 1, bytes: 7, stage }
    }

    #[test]
    fn counts_follow_an_entry_from_stage_to_stage() {
        let mut in_flight = InFlight::default();
        in_flight.insert(entry(1), running(Some(Pool::Delayed), 30));
        in_flight.insert(entry(2), running(Some(Pool::Suspect), 20));
        assert_eq!((in_flight.running(), in_flight.retrying()), (2, 1));
        assert!(in_flight.has_suspect());
        assert_eq!(in_flight.bytes(), 14);
        in_flight.update(entry(1), |state| state.stage = Stage::Finished { sent: false });
        assert_eq!((in_flight.running(), in_flight.retrying(), in_flight.finished()), (1, 0, 1));
        assert_eq!(in_flight.bytes(), 7);
        in_flight.remove(entry(2));
        assert_eq!((in_flight.running(), in_flight.only_finished()), (0, Some(entry(1))));
        in_flight.retain(|_, _| false);
        assert_eq!((in_flight.len(), in_flight.finished()), (0, 0));
    }

    #[test]
    fn a_renewed_lease_replaces_the_old_one() {
        let mut in_flight = InFlight::default();
        in_flight.insert(entry(1), running(None, 20));
        in_flight.insert(entry(2), running(None, 30));
        let later = Moment::START + Duration::from_secs(40);
        in_flight.update(entry(1), |state| state.leased_until = later);
        let at_30 = Moment::START + Duration::from_secs(30);
        assert_eq!(
            (in_flight.first_lease_end(), in_flight.expired(at_30)),
            (Some(at_30), vec![entry(2)])
        );
    }
}
