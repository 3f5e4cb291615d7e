//! Exponential backoff with jitter, as a pure function of the attempt and a random number.

use std::time::Duration;

/// Exponential backoff: `initial × multiplier^(n-1)` after the n-th failure, at most `max`, ± `jitter_percent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure. Default 1 s.
    pub initial: Duration,
    /// Maximum delay, jitter included. Default 5 min.
    pub max: Duration,
    /// Factor from one failure to the next, 1 to 10. Default 2.
    pub multiplier: u32,
    /// Spread in per cent of the delay, 0 to 100, to either side. Default 20.
    pub jitter_percent: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(300),
            multiplier: 2,
            jitter_percent: 20,
        }
    }
}

impl Backoff {
    /// Returns the delay after failure number `attempt` (from 1; 0 counts as 1); `random` is uniform in `0.0..1.0`.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        let max = self.max.as_secs_f64();
        let exponent = f64::from(attempt.saturating_sub(1));
        let factor = f64::from(self.multiplier).powf(exponent);
        // `min` also caps a factor that overflowed to infinity.
        let base = (self.initial.as_secs_f64() * factor).min(max);
        let spread = f64::from(self.jitter_percent) / 100.0 * (2.0 * random - 1.0);
        Duration::from_secs_f64((base * (1.0 + spread)).clamp(0.0, max))
    }
}

/// Returns a delay with full jitter, for reconnecting: uniform between 0 and `initial × 2^(attempt-1)`, at most `max`.
#[must_use]
pub fn full_jitter(attempt: u32, initial: Duration, max: Duration, random: f64) -> Duration {
    let steady = Backoff { initial, max, multiplier: 2, jitter_percent: 0 };
    steady.delay(attempt, 0.5).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Backoff = Backoff {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(10),
        multiplier: 2,
        jitter_percent: 0,
    };

    #[test]
    fn the_delay_doubles_up_to_its_maximum() {
        let delays: Vec<u64> = (1..=6).map(|n| STEADY.delay(n, 0.5).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_huge_attempt_number_stays_at_the_maximum() {
        assert_eq!(STEADY.delay(u32::MAX, 0.5), Duration::from_secs(10));
    }

    #[test]
    fn jitter_stays_within_its_percentage() {
        let backoff = Backoff { jitter_percent: 20, ..STEADY };
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(800));
        assert_eq!(backoff.delay(1, 1.0), Duration::from_millis(1200));
    }

    #[test]
    fn full_jitter_reaches_from_nothing_to_the_whole_delay() {
        let (initial, max) = (Duration::from_millis(50), Duration::from_secs(2));
        assert_eq!(full_jitter(3, initial, max, 0.0), Duration::ZERO);
        assert_eq!(full_jitter(3, initial, max, 1.0), Duration::from_millis(200));
    }
}
