//! Number of entries to ask for: what the connection carries, and what fits into the bytes that may be held.

use std::time::Duration;

use crate::retry::pace::{Pace, PaceRange};

use super::DeliveryConfig;

/// Time limit of a reply on a fast connection, and the maximum one; both also bounded by a third of the lease, so that an
/// entry that arrives late is still leased.
const MIN_LIMIT: Duration = Duration::from_secs(2);
const MAX_LIMIT: Duration = Duration::from_secs(10);
/// Part by which the size of the largest entry shrinks with each smaller one: it halves within 44 entries.
const DECAY: usize = 64;

/// Pace of reads and claims, and the size of the largest entry.
#[derive(Debug)]
pub(super) struct Fetch {
    pub pace: Pace,
    /// Size of the largest entry lately, in bytes; `None` before the first one.
    pub largest: Option<usize>,
}

impl Fetch {
    pub fn new(config: &DeliveryConfig) -> Self {
        let range = PaceRange {
            max_batch: config.batch_size.max(config.concurrency),
            min_limit: MIN_LIMIT.min(config.lease / 3),
            max_limit: MAX_LIMIT.min(config.lease / 3),
        };
        Self { pace: Pace::new(range), largest: None }
    }

    /// Notes the size of an entry that arrived.
    pub fn note(&mut self, size: usize) {
        let lately = self.largest.map_or(0, |largest| largest - largest / DECAY);
        self.largest = Some(lately.max(size).max(1));
    }

    /// Returns how many more entries fit, beside entries of `bytes` and `asked` entries that are on their way; at least
    /// 1 beside nothing. Of the first entry nothing is known, so that it is fetched alone.
    pub fn fitting(&self, max_bytes: usize, bytes: usize, asked: usize) -> usize {
        let Some(largest) = self.largest else { return 1 };
        let bytes = bytes.saturating_add(largest.saturating_mul(asked));
        let fitting = max_bytes.saturating_sub(bytes) / largest;
        if bytes == 0 { fitting.max(1) } else { fitting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(sizes: &[usize]) -> Fetch {
        let mut fetch = Fetch::new(&DeliveryConfig::default());
        sizes.iter().for_each(|size| fetch.note(*size));
        fetch
    }

    #[test]
    fn the_first_entry_is_fetched_alone() {
        assert_eq!(fetch(&[]).fitting(1_000, 0, 0), 1);
    }

    #[test]
    fn as_many_entries_fit_as_are_as_large_as_the_largest() {
        let fetch = fetch(&[10, 100]);
        assert_eq!(fetch.fitting(1_000, 0, 0), 10);
        assert_eq!(fetch.fitting(1_000, 300, 2), 5);
        assert_eq!(fetch.fitting(1_000, 950, 0), 0);
        assert_eq!(fetch.fitting(1_000, 9_950, 9), 0);
    }

    #[test]
    fn an_entry_that_is_larger_than_the_budget_fits_alone() {
        let fetch = fetch(&[5_000]);
        assert_eq!(fetch.fitting(1_000, 0, 0), 1);
        assert_eq!((fetch.fitting(1_000, 5_000, 0), fetch.fitting(1_000, 0, 1)), (0, 0));
    }

    #[test]
    fn a_large_entry_is_forgotten_after_many_small_ones() {
        let mut fetch = fetch(&[1_000_000]);
        (0..44).for_each(|_| fetch.note(10));
        assert_eq!(fetch.largest.map(|size| size / 10_000), Some(50));
        (0..2_000).for_each(|_| fetch.note(10));
        assert_eq!(fetch.largest, Some(63));
        fetch.note(70);
        assert_eq!(fetch.largest, Some(70));
    }

    #[test]
    fn the_time_limit_stays_within_a_third_of_the_lease() {
        let limits = |lease| {
            let lease = Duration::from_secs(lease);
            let mut pace = Fetch::new(&DeliveryConfig { lease, ..DeliveryConfig::default() }).pace;
            let min = pace.limit();
            (0..9).for_each(|_| pace.failed(1, true));
            (min.as_secs(), pace.limit().as_secs())
        };
        assert_eq!([limits(30), limits(3), limits(3_600)], [(2, 10), (1, 1), (2, 10)]);
    }
}
