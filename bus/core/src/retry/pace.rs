//! Size and time limit of batches, adapted to what a connection carries.

use std::time::Duration;

/// Maximum number of answered batches between two attempts at a size that failed.
const MAX_REQUIRED: u32 = 64;

/// Range of a [`Pace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceRange {
    /// Maximum size, and the initial one.
    pub max_batch: usize,
    /// Time limit on a fast connection, and the initial one.
    pub min_limit: Duration,
    /// Maximum time limit.
    pub max_limit: Duration,
}

/// Size and time limit of the next batch. A batch that fails halves the size, and one that is late doubles the limit; full
/// batches that are answered quickly double the size again, and the limit follows the time that they take.
///
/// A size that fails each time it is tried is tried ever less often, up to once in 64 batches, so that a connection that
/// never carries it does not fail over and over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    range: PaceRange,
    limit: Duration,
    batch: usize,
    /// `true` until a batch of a size that was just grown is answered.
    is_trying: bool,
    /// Number of full batches to be answered before the size grows, and of those answered so far.
    required: u32,
    answered: u32,
}

impl Pace {
    /// Creates a pace with the maximum size and the minimum limit.
    #[must_use]
    pub fn new(range: PaceRange) -> Self {
        let (limit, batch) = (range.min_limit, range.max_batch);
        Self { range, limit, batch, is_trying: false, required: 1, answered: 0 }
    }

    /// Returns the maximum size of the next batch, at least 1.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the time limit of the next batch.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Adapts to a batch of `size` that was answered within `took`. A smaller batch than allowed does not prove that the
    /// connection carries more.
    pub fn answered(&mut self, size: usize, took: Duration) {
        let PaceRange { max_batch, min_limit, .. } = self.range;
        self.limit = (took * 4).clamp(min_limit, self.limit.max(min_limit));
        if size < self.batch {
            return;
        }
        if std::mem::take(&mut self.is_trying) {
            self.required = 1;
        }
        self.answered = self.answered.saturating_add(1);
        if took < min_limit / 2 && self.answered >= self.required && self.batch < max_batch {
            self.batch = (self.batch * 2).min(max_batch);
            (self.answered, self.is_trying) = (0, true);
        }
    }

    /// Adapts to a batch of `size` that failed; `is_late`: it was not answered in time.
    pub fn failed(&mut self, size: usize, is_late: bool) {
        if is_late {
            self.limit = (self.limit * 2).min(self.range.max_limit.max(self.range.min_limit));
        }
        if std::mem::take(&mut self.is_trying) {
            self.required = (self.required * 2).min(MAX_REQUIRED);
        }
        self.batch = (size.min(self.batch) / 2).max(1);
        self.answered = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const RANGE: PaceRange = PaceRange {
        max_batch: 512,
        min_limit: Duration::from_millis(250),
        max_limit: Duration::from_secs(10),
    };

    fn size_and_limit(pace: &Pace) -> (usize, Duration) {
        (pace.batch(), pace.limit())
    }

    /// Answers full batches within `ms`.
    fn answer(pace: &mut Pace, batches: usize, ms: u64) {
        for _ in 0..batches {
            pace.answered(pace.batch(), MS(ms));
        }
    }

    #[test]
    fn batches_that_are_late_get_smaller_and_get_more_time() {
        let mut pace = Pace::new(RANGE);
        for _ in 0..20 {
            pace.failed(pace.batch(), true);
        }
        assert_eq!(size_and_limit(&pace), (1, RANGE.max_limit));
    }

    #[test]
    fn a_batch_that_is_refused_gets_smaller_and_no_more_time() {
        let mut pace = Pace::new(RANGE);
        pace.failed(512, false);
        assert_eq!(size_and_limit(&pace), (256, MS(250)));
    }

    #[test]
    fn a_batch_smaller_than_allowed_that_fails_is_halved_itself() {
        let mut pace = Pace::new(RANGE);
        pace.failed(8, false);
        assert_eq!(pace.batch(), 4);
    }

    #[test]
    fn a_slow_connection_keeps_a_size_and_a_limit_that_suffice() {
        let mut pace = Pace::new(RANGE);
        pace.failed(512, true);
        pace.failed(256, true);
        answer(&mut pace, 20, 200);
        assert_eq!(size_and_limit(&pace), (128, MS(800)));
    }

    #[test]
    fn a_connection_that_is_fast_again_gets_full_batches_and_the_minimum_limit() {
        let mut pace = Pace::new(RANGE);
        for _ in 0..20 {
            pace.failed(pace.batch(), true);
        }
        answer(&mut pace, 9, 5);
        assert_eq!(size_and_limit(&pace), (512, MS(250)));
    }

    #[test]
    fn a_batch_smaller_than_allowed_does_not_make_the_next_one_larger() {
        let mut pace = Pace::new(RANGE);
        pace.failed(8, false);
        pace.answered(3, MS(5));
        assert_eq!(pace.batch(), 4);
        pace.answered(4, MS(5));
        assert_eq!(pace.batch(), 8);
    }

    #[test]
    fn a_size_that_always_fails_is_tried_ever_less_often() {
        let mut pace = Pace::new(RANGE);
        pace.failed(4, false);
        let mut answered_before_each_failure = Vec::new();
        for _ in 0..8 {
            let mut answered = 0;
            while pace.batch() < 4 {
                answer(&mut pace, 1, 5);
                answered += 1;
            }
            answered_before_each_failure.push(answered);
            pace.failed(4, false);
        }
        assert_eq!(answered_before_each_failure, [1, 2, 4, 8, 16, 32, 64, 64]);
    }

    #[test]
    fn a_size_that_is_answered_again_is_no_longer_tried_less_often() {
        let mut pace = Pace::new(RANGE);
        for _ in 0..4 {
            pace.failed(4, false);
            answer(&mut pace, 8, 5);
        }
        answer(&mut pace, 20, 5);
        assert_eq!(pace.batch(), 512);
    }
}
