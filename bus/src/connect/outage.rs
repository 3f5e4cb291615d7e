//! How often to try again, and how often to say so, while Redis or the group is away.

use std::time::Duration;

use crate::backoff::full_jitter;
use crate::delivery::Moment;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Redis,
    Group,
}

/// A run of failures of one kind.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    kind: Option<Missing>,
    failures: u32,
    said_at: Option<Moment>,
}

impl Outage {
    /// Notes a failure and answers how long to wait, and whether it is to be said now: the first of its kind at once,
    /// then one a minute. `longest` bounds the wait for Redis; the group is looked for after 1, 2, 4, then every 5 s.
    pub fn fail(
        &mut self,
        kind: Missing,
        longest: Duration,
        now: Moment,
        die: f64,
    ) -> (Duration, bool) {
        if self.kind != Some(kind) {
            *self = Self { kind: Some(kind), ..Self::default() };
        }
        self.failures = self.failures.saturating_add(1);
        let say = self.said_at.is_none_or(|said| now >= said + SAY_EVERY);
        if say {
            self.said_at = Some(now);
        }
        let wait = match kind {
            Missing::Redis => full_jitter(self.failures, FIRST, LONGEST.min(longest), die),
            Missing::Group => {
                Duration::from_secs([1, 2, 4, 5][self.failures.clamp(1, 4) as usize - 1])
            }
        };
        (wait, say)
    }

    /// Failures so far; 0 where nothing is away.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It works again.
    pub fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE_THIRD: Duration = Duration::from_secs(10);

    #[test]
    fn an_outage_is_said_once_a_minute() {
        let mut outage = Outage::default();
        let said: Vec<bool> = [0, 1, 59, 60, 61, 119, 120]
            .map(|s| outage.fail(Missing::Redis, LEASE_THIRD, Moment::from_secs(s), 0.5).1)
            .to_vec();
        assert_eq!(said, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn another_cause_is_said_at_once() {
        let mut outage = Outage::default();
        outage.fail(Missing::Redis, LEASE_THIRD, Moment::ZERO, 0.5);
        assert!(outage.fail(Missing::Group, LEASE_THIRD, Moment::ZERO, 0.5).1);
    }

    #[test]
    fn a_missing_group_is_looked_for_ever_more_slowly_up_to_five_seconds() {
        let mut outage = Outage::default();
        let waits = [(); 6]
            .map(|()| outage.fail(Missing::Group, LEASE_THIRD, Moment::ZERO, 0.5).0.as_secs());
        assert_eq!(waits, [1, 2, 4, 5, 5, 5]);
    }

    #[test]
    fn reconnecting_never_waits_longer_than_its_bound() {
        let mut outage = Outage::default();
        for _ in 0..50 {
            let (wait, _) =
                outage.fail(Missing::Redis, Duration::from_millis(700), Moment::ZERO, 1.0);
            assert!(wait <= Duration::from_millis(700));
        }
    }
}
