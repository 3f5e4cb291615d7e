//! Commands that were sent and are not answered yet.

use super::{EntryRef, Pool, Source};

/// The outstanding commands of one consumer.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// The read, with the number of entries that it may return. It may be answered although its connection is lost.
    pub read: Option<usize>,
    pub claim: Option<Claiming>,
    /// With order kept: the command for the next entry.
    pub fetch_next: bool,
    /// The list of pending entries: its source, and the number of entries that it may return.
    pub list: Option<(Source, usize)>,
    /// With order kept: the wait for an entry that does not exist yet.
    pub wait: bool,
    /// Number of acknowledgements.
    pub acks: usize,
    /// The heartbeat, with the entries whose lease it renews.
    pub heartbeat: Option<Vec<EntryRef>>,
    pub leave: bool,
}

/// An outstanding claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claiming {
    pub source: Source,
    pub pool: Pool,
    /// Number of entries that it may return.
    pub count: usize,
}

impl Outstanding {
    /// Forgets the commands of a lost connection: they are not answered any more, except the read if it is outstanding.
    pub fn clear(&mut self, read: bool) {
        *self = Self { read: self.read.filter(|_| read), ..Self::default() };
    }

    /// Returns `true` if no answer is awaited that could bring or settle an entry. The wait for an entry does neither.
    pub fn is_empty(&self) -> bool {
        self.read.is_none()
            && self.claim.is_none()
            && !self.fetch_next
            && self.list.is_none()
            && self.acks == 0
            && self.heartbeat.is_none()
            && !self.leave
    }

    /// Returns `true` if no answer is awaited that could bring an entry.
    pub fn fetches_nothing(&self) -> bool {
        self.read.is_none() && self.claim.is_none() && !self.fetch_next
    }

    /// Returns the number of entries that the outstanding claim may return.
    pub fn claimable(&self) -> usize {
        self.claim.map_or(0, |claim| claim.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_leaves_nothing_outstanding_but_the_read() {
        let claim = Some(Claiming { source: Source::Stream, pool: Pool::Delayed, count: 2 });
        for read in [false, true] {
            let mut outstanding = Outstanding {
                read: Some(4),
                claim,
                list: Some((Source::Stream, 9)),
                fetch_next: true,
                wait: true,
                acks: 1,
                heartbeat: Some(vec![]),
                leave: true,
            };
            outstanding.clear(read);
            assert_eq!((outstanding.is_empty(), outstanding.wait), (!read, false));
        }
    }
}
