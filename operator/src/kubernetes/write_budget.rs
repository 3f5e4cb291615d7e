//! Budget of status writes, which limits the load on the API server. Pure.

use std::time::{Duration, Instant};

/// Number of writes reserved for high priority.
const RESERVE: f64 = 5.0;

/// Priority of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// May use the reserve.
    High,
    /// Must not use the reserve.
    Normal,
}

/// Token bucket of the operator's status writes: `rate` tokens a second, of which some are reserved for high priority.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    rate: f64,
    left: f64,
    at: Instant,
}

impl Budget {
    /// Creates a budget of `rate` writes a second, full at `now`.
    pub(crate) fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, left: rate, at: now }
    }

    /// Takes one write.
    ///
    /// # Errors
    /// The time until a write is available.
    pub(crate) fn take(&mut self, priority: Priority, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.rate).min(self.rate);
        self.at = now;
        let reserve = if priority == Priority::High { 0.0 } else { RESERVE.min(self.rate / 2.0) };
        let missing = 1.0 + reserve - self.left;
        if missing > 0.0 {
            return Err(Duration::from_secs_f64(missing / self.rate));
        }
        self.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_lets_its_rate_pass_and_keeps_some_for_high_priority() {
        let start = crate::testing::instant();
        let mut budget = Budget::new(50, start);
        let passed = (0..100).filter(|_| budget.take(Priority::Normal, start).is_ok()).count();
        assert_eq!(passed, 45);
        let high = (0..100).filter(|_| budget.take(Priority::High, start).is_ok()).count();
        assert_eq!(high, 5);
        let again = budget.take(Priority::Normal, start).unwrap_err();
        assert_eq!(again, Duration::from_millis(120));
        assert!(budget.take(Priority::Normal, start + again).is_ok());
    }
}
