//! The entries in flight: pending at this consumer, and not settled yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DeadLetter, DelayRequest, Delivery, EntryRef, Moment, Pool, Source};

/// One entry in flight.
#[derive(Debug)]
pub(super) struct EntryState {
    /// Where it came from; `None`: new.
    pub pool: Option<Pool>,
    /// When the command that got it was sent.
    pub since: Moment,
    /// Nothing starts or goes on past this.
    pub leased_until: Moment,
    /// The attempt that its handler call is.
    pub attempt: u32,
    pub stage: Stage,
}

/// How far an entry in flight has come. `sent`: the command is outstanding on the present connection.
#[derive(Debug)]
pub(super) enum Stage {
    /// For a free worker.
    Waiting(Arc<Delivery>),
    /// Its handler runs; `forgotten`: the group it belonged to is gone, so its end means nothing.
    Running {
        forgotten: bool,
    },
    /// To be acknowledged.
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

#[derive(Debug, Default)]
pub(super) struct InFlight(BTreeMap<EntryRef, EntryState>);

impl InFlight {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get_mut(&mut self, entry: EntryRef) -> Option<&mut EntryState> {
        self.0.get_mut(&entry)
    }

    pub fn insert(&mut self, entry: EntryRef, state: EntryState) {
        self.0.insert(entry, state);
    }

    pub fn remove(&mut self, entry: EntryRef) {
        self.0.remove(&entry);
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (EntryRef, &mut EntryState)> {
        self.0.iter_mut().map(|(entry, state)| (*entry, state))
    }

    pub fn retain(&mut self, mut keep: impl FnMut(EntryRef, &mut EntryState) -> bool) {
        self.0.retain(|entry, state| keep(*entry, state));
    }

    /// The end of the lease that ends first, of those that a handler has or will have.
    pub fn first_lease_end(&self) -> Option<Moment> {
        let covered = self.0.values().filter(|state| {
            matches!(state.stage, Stage::Waiting(_) | Stage::Running { forgotten: false })
        });
        covered.map(|state| state.leased_until).min()
    }

    /// Entries whose lease a heartbeat renews: those that a handler has or will have.
    pub fn renewable(&self) -> Vec<EntryRef> {
        self.entries(|state| {
            matches!(state.stage, Stage::Waiting(_) | Stage::Running { forgotten: false })
        })
    }

    pub fn has_suspect(&self) -> bool {
        self.0.values().any(|state| state.pool == Some(Pool::Suspect))
    }

    /// Entries whose handler runs.
    pub fn in_handlers(&self) -> Vec<EntryRef> {
        self.entries(|state| matches!(state.stage, Stage::Running { .. }))
    }

    pub fn running(&self) -> usize {
        self.count(|state| matches!(state.stage, Stage::Running { .. }))
    }

    pub fn waiting(&self) -> usize {
        self.count(|state| matches!(state.stage, Stage::Waiting(_)))
    }

    /// New entries that no worker had time for yet.
    pub fn waiting_new(&self) -> usize {
        self.count(|state| state.pool.is_none() && matches!(state.stage, Stage::Waiting(_)))
    }

    /// Entries from the delayed pool that keep a worker busy or will at once.
    pub fn retrying(&self) -> usize {
        self.count(|state| {
            state.pool == Some(Pool::Delayed)
                && matches!(state.stage, Stage::Waiting(_) | Stage::Running { .. })
        })
    }

    /// The entries to start next: suspects and retries before new ones, the oldest first.
    pub fn next_waiting(&self, most: usize) -> Vec<EntryRef> {
        let waiting = |state: &EntryState, new: bool| {
            state.pool.is_none() == new && matches!(state.stage, Stage::Waiting(_))
        };
        let of = |new| {
            self.0.iter().filter(move |(_, state)| waiting(state, new)).map(|(entry, _)| *entry)
        };
        of(false).chain(of(true)).take(most).collect()
    }

    /// How many entries are finished, with their acknowledgement not outstanding.
    pub fn finished(&self) -> usize {
        self.count(|state| matches!(state.stage, Stage::Finished { sent: false }))
    }

    /// Of the finished entries whose acknowledgement is not outstanding: those that `select` wants.
    pub fn unacknowledged(&self, select: impl Fn(EntryRef, &EntryState) -> bool) -> Vec<EntryRef> {
        let open = self
            .0
            .iter()
            .filter(|(_, state)| matches!(state.stage, Stage::Finished { sent: false }));
        open.filter(|(entry, state)| select(**entry, state)).map(|(entry, _)| *entry).collect()
    }

    /// The one entry of the stream in flight, where it is finished and its acknowledgement is not outstanding.
    pub fn only_finished(&self) -> Option<EntryRef> {
        let (entry, state) = self.0.iter().next().filter(|_| self.0.len() == 1)?;
        let finished = matches!(state.stage, Stage::Finished { sent: false });
        (finished && entry.source == Source::Stream).then_some(*entry)
    }

    fn entries(&self, select: impl Fn(&EntryState) -> bool) -> Vec<EntryRef> {
        self.0.iter().filter(|(_, state)| select(state)).map(|(entry, _)| *entry).collect()
    }

    fn count(&self, select: impl Fn(&EntryState) -> bool) -> usize {
        self.0.values().filter(|state| select(state)).count()
    }
}
