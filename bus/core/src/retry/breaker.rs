//! Circuit breaker around Redis operations: while Redis is unreachable, operations fail at once instead of waiting.

use std::time::Duration;

/// Consecutive failures that open the breaker.
pub const OPENS_AFTER: u32 = 5;
/// Interval of probes while the breaker is open: one operation passes, to find out whether Redis is reachable again.
pub const PROBE_EVERY: Duration = Duration::from_secs(1);

/// Circuit breaker. Times count from any fixed moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { next_probe: Duration },
    HalfOpen { next_probe: Duration },
}

/// State of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Operations pass.
    Closed,
    /// One operation is running as a probe; the others are refused.
    HalfOpen,
    /// Operations are refused at once.
    Open,
}

impl Default for Breaker {
    fn default() -> Self {
        Self(State::Closed { failures: 0 })
    }
}

impl Breaker {
    /// Returns `true` if an operation may start at `now`. It must end in [`succeeded`](Self::succeeded) or
    /// [`failed`](Self::failed); a probe that ends in neither is followed by the next one.
    pub fn permits(&mut self, now: Duration) -> bool {
        match self.0 {
            State::Closed { .. } => true,
            State::Open { next_probe } | State::HalfOpen { next_probe } => {
                let is_due = now >= next_probe;
                if is_due {
                    self.0 = State::HalfOpen { next_probe: now + PROBE_EVERY };
                }
                is_due
            }
        }
    }

    /// Records that Redis answered, also with an error.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Records that there was no connection, or no answer in time.
    pub fn failed(&mut self, now: Duration) {
        self.0 = match self.0 {
            State::Closed { failures } if failures + 1 < OPENS_AFTER => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => State::Open { next_probe: now + PROBE_EVERY },
            State::Open { next_probe } | State::HalfOpen { next_probe } => {
                State::Open { next_probe }
            }
        };
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.0 {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Returns `true` if the last operation did not fail.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn opened_at(now: Duration) -> Breaker {
        let mut breaker = Breaker::default();
        (0..OPENS_AFTER).for_each(|_| breaker.failed(now));
        breaker
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(ms(0));
            assert!(breaker.permits(ms(0)));
        }
        breaker.failed(ms(0));
        assert_eq!((breaker.state(), breaker.permits(ms(999))), (BreakerState::Open, false));
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let mut breaker = Breaker::default();
        (0..4).for_each(|_| breaker.failed(ms(0)));
        breaker.succeeded();
        (0..4).for_each(|_| breaker.failed(ms(0)));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn an_open_breaker_permits_one_probe_a_second() {
        let mut breaker = opened_at(ms(0));
        let permitted: Vec<u64> =
            (0..35).map(|n| n * 100).filter(|t| breaker.permits(ms(*t))).collect();
        assert_eq!(permitted, [1000, 2000, 3000]);
    }

    #[test]
    fn a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_again() {
        let mut breaker = opened_at(ms(0));
        assert!(breaker.permits(ms(1000)));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.failed(ms(1200));
        assert_eq!((breaker.state(), breaker.permits(ms(1999))), (BreakerState::Open, false));
        assert!(breaker.permits(ms(2000)));
        breaker.succeeded();
        assert!(breaker.is_quiet());
    }

    #[test]
    fn a_late_failure_of_an_earlier_operation_does_not_delay_the_probe() {
        let mut breaker = opened_at(ms(0));
        breaker.failed(ms(990));
        assert!(breaker.permits(ms(1000)));
    }
}
