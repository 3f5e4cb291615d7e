//! The entries in hand: pending at this consumer, and not settled yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Burial, Delivery, EntryRef, Moment, Parking, Pool, Source};

/// One entry in hand.
#[derive(Debug)]
pub(super) struct Held {
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

/// How far an entry in hand has come. `sent`: the command is outstanding on the present connection.
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
    Parking {
        parking: Parking,
        sent: bool,
    },
    Burying {
        burial: Burial,
        sent: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Hand(BTreeMap<EntryRef, Held>);

impl Hand {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get_mut(&mut self, entry: EntryRef) -> Option<&mut Held> {
        self.0.get_mut(&entry)
    }

    pub fn insert(&mut self, entry: EntryRef, held: Held) {
        self.0.insert(entry, held);
    }

    pub fn remove(&mut self, entry: EntryRef) {
        self.0.remove(&entry);
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (EntryRef, &mut Held)> {
        self.0.iter_mut().map(|(entry, held)| (*entry, held))
    }

    pub fn retain(&mut self, mut keep: impl FnMut(EntryRef, &mut Held) -> bool) {
        self.0.retain(|entry, held| keep(*entry, held));
    }

    /// The end of the lease that ends first, of those that a handler has or will have.
    pub fn first_lease_end(&self) -> Option<Moment> {
        let covered = self.0.values().filter(|held| {
            matches!(held.stage, Stage::Waiting(_) | Stage::Running { forgotten: false })
        });
        covered.map(|held| held.leased_until).min()
    }

    /// Entries whose lease a beat renews: those that a handler has or will have.
    pub fn renewable(&self) -> Vec<EntryRef> {
        self.entries(|held| {
            matches!(held.stage, Stage::Waiting(_) | Stage::Running { forgotten: false })
        })
    }

    pub fn has_suspect(&self) -> bool {
        self.0.values().any(|held| held.pool == Some(Pool::Suspect))
    }

    /// Entries whose handler runs.
    pub fn in_handlers(&self) -> Vec<EntryRef> {
        self.entries(|held| matches!(held.stage, Stage::Running { .. }))
    }

    pub fn running(&self) -> usize {
        self.count(|held| matches!(held.stage, Stage::Running { .. }))
    }

    pub fn waiting(&self) -> usize {
        self.count(|held| matches!(held.stage, Stage::Waiting(_)))
    }

    /// New entries that no worker had time for yet.
    pub fn waiting_new(&self) -> usize {
        self.count(|held| held.pool.is_none() && matches!(held.stage, Stage::Waiting(_)))
    }

    /// Entries from the parked pool that keep a worker busy or will at once.
    pub fn retrying(&self) -> usize {
        self.count(|held| {
            held.pool == Some(Pool::Parked)
                && matches!(held.stage, Stage::Waiting(_) | Stage::Running { .. })
        })
    }

    /// The entries to start next: suspects and retries before new ones, the oldest first.
    pub fn next_waiting(&self, most: usize) -> Vec<EntryRef> {
        let waiting = |held: &Held, new: bool| {
            held.pool.is_none() == new && matches!(held.stage, Stage::Waiting(_))
        };
        let of = |new| {
            self.0.iter().filter(move |(_, held)| waiting(held, new)).map(|(entry, _)| *entry)
        };
        of(false).chain(of(true)).take(most).collect()
    }

    /// How many entries are finished, with their acknowledgement not outstanding.
    pub fn finished(&self) -> usize {
        self.count(|held| matches!(held.stage, Stage::Finished { sent: false }))
    }

    /// Of the finished entries whose acknowledgement is not outstanding: those that `select` wants.
    pub fn unacknowledged(&self, select: impl Fn(EntryRef, &Held) -> bool) -> Vec<EntryRef> {
        let open =
            self.0.iter().filter(|(_, held)| matches!(held.stage, Stage::Finished { sent: false }));
        open.filter(|(entry, held)| select(**entry, held)).map(|(entry, _)| *entry).collect()
    }

    /// The one entry of the stream in hand, where it is finished and its acknowledgement is not outstanding.
    pub fn only_finished(&self) -> Option<EntryRef> {
        let (entry, held) = self.0.iter().next().filter(|_| self.0.len() == 1)?;
        let finished = matches!(held.stage, Stage::Finished { sent: false });
        (finished && entry.source == Source::Stream).then_some(*entry)
    }

    fn entries(&self, select: impl Fn(&Held) -> bool) -> Vec<EntryRef> {
        self.0.iter().filter(|(_, held)| select(held)).map(|(entry, _)| *entry).collect()
    }

    fn count(&self, select: impl Fn(&Held) -> bool) -> usize {
        self.0.values().filter(|held| select(held)).count()
    }
}
