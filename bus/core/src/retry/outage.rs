//! Outages: the reconnect backoff and the log throttle while a service is unreachable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::retry::backoff::full_jitter;

const INITIAL_WAIT: Duration = Duration::from_millis(50);
const MAX_WAIT: Duration = Duration::from_secs(2);
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Consecutive failures of one task, with the wait before the next attempt. Times count from any fixed moment.
#[derive(Debug)]
pub struct Outage {
    max_wait: Duration,
    failures: u32,
    /// Number of the latest consecutive failures that were a missing group.
    groupless: usize,
    /// `true` if any of the failures was logged.
    is_logged: bool,
    throttle: LogThrottle,
}

/// Log throttle: each cause is logged at once and then at most once a minute. Clones share it; their times must count
/// from the same moment.
#[derive(Clone, Debug, Default)]
pub struct LogThrottle(Arc<Mutex<Causes>>);

/// By cause, of which there are few: the time of the last log line, and the number of failures since then.
type Causes = BTreeMap<String, (Duration, u64)>;

impl Default for Outage {
    fn default() -> Self {
        Self::bounded(MAX_WAIT)
    }
}

impl Outage {
    /// Creates an outage that waits at most `max_wait`, and never more than 2 s.
    pub fn bounded(max_wait: Duration) -> Self {
        Self { max_wait: max_wait.min(MAX_WAIT), ..Self::with_throttle(LogThrottle::default()) }
    }

    /// Creates an outage that shares `throttle`: a cause logged by one is not logged again by the other.
    pub fn with_throttle(throttle: LogThrottle) -> Self {
        Self { max_wait: MAX_WAIT, failures: 0, groupless: 0, is_logged: false, throttle }
    }

    /// Records a failure. Returns the wait before the next attempt and, if the cause is to be logged now, the number of
    /// failures with this cause since it was last logged. A cause is logged at once, then once a minute.
    pub fn fail(&mut self, cause: String, now: Duration, random: f64) -> (Duration, Option<u64>) {
        if std::mem::take(&mut self.groupless) > 0 {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = full_jitter(self.failures, INITIAL_WAIT, self.max_wait, random);
        (wait, self.log(cause, now))
    }

    /// Records a missing group, as [`fail`](Self::fail) does, with waits of 1, 2, 4, then always 5 s.
    pub fn miss(&mut self, cause: String, now: Duration) -> (Duration, Option<u64>) {
        const SECONDS: [u64; 4] = [1, 2, 4, 5];
        let wait = Duration::from_secs(SECONDS[self.groupless.min(SECONDS.len() - 1)]);
        self.groupless += 1;
        self.failures = self.failures.saturating_add(1);
        (wait, self.log(cause, now))
    }

    /// Records a problem that needs no wait. Returns the number of times to log, as [`fail`](Self::fail) does.
    pub fn log(&mut self, cause: String, now: Duration) -> Option<u64> {
        let times = self.throttle.record(cause, 1, now);
        self.is_logged |= times.is_some();
        times
    }

    /// Returns `true` while the outage lasts.
    pub fn is_on(&self) -> bool {
        self.failures > 0
    }

    /// Ends the outage. Returns the number of failures, or 0 if none was logged, so that the log never reports a recovery
    /// without a failure before it. The throttle is kept.
    pub fn end(&mut self) -> u32 {
        self.groupless = 0;
        let failures = std::mem::take(&mut self.failures);
        if std::mem::take(&mut self.is_logged) { failures } else { 0 }
    }
}

impl LogThrottle {
    /// Records `times` occurrences of a cause. Returns the number to log, if it is to be logged now: all since it was last
    /// logged.
    pub fn record(&self, cause: String, times: u64, now: Duration) -> Option<u64> {
        // No holder of the lock panics.
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((logged_at, since)) = causes.get_mut(&cause) else {
            causes.insert(cause, (now, 0));
            return Some(times);
        };
        *since += times;
        if now < *logged_at + LOG_EVERY {
            return None;
        }
        *logged_at = now;
        Some(std::mem::take(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_cause_is_logged_at_once_and_then_once_a_minute_with_its_number() {
        let mut outage = Outage::default();
        let mut log = |cause: &str, seconds| outage.fail(cause.to_owned(), at(seconds), 0.5).1;
        assert_eq!([log("a", 0), log("b", 1), log("a", 2)], [Some(1), Some(1), None]);
        assert_eq!([log("a", 59), log("b", 60), log("a", 60)], [None, None, Some(3)]);
    }

    #[test]
    fn repeated_short_outages_are_logged_no_more_often() {
        let mut outage = Outage::default();
        let logged = (0..120).map(|second| {
            let times = outage.fail("a".to_owned(), at(second), 0.5).1;
            (times, outage.end())
        });
        let logged: Vec<_> = logged.filter(|logged| *logged != (None, 0)).collect();
        assert_eq!(logged, [(Some(1), 1), (Some(60), 1)]);
    }

    #[test]
    fn outages_that_share_a_throttle_log_a_cause_once() {
        let throttle = LogThrottle::default();
        let mut first = Outage::with_throttle(throttle.clone());
        let mut second = Outage::with_throttle(throttle);
        let log = |outage: &mut Outage, second| outage.fail("a".to_owned(), at(second), 0.5).1;
        assert_eq!(
            [log(&mut first, 0), log(&mut second, 1), log(&mut first, 2)],
            [Some(1), None, None]
        );
        assert_eq!(log(&mut second, 60), Some(3));
        assert_eq!((first.end(), second.end()), (2, 2));
    }

    #[test]
    fn occurrences_are_added_up_until_the_next_log_line() {
        let throttle = LogThrottle::default();
        let record = |times, second| throttle.record("a".to_owned(), times, at(second));
        assert_eq!([record(7, 0), record(5, 1), record(3, 60)], [Some(7), None, Some(8)]);
    }

    #[test]
    fn the_end_of_an_outage_that_was_not_logged_is_not_logged() {
        let mut outage = Outage::default();
        outage.miss("a".to_owned(), at(0));
        outage.miss("a".to_owned(), at(1));
        assert_eq!((outage.is_on(), outage.end(), outage.is_on()), (true, 2, false));
        outage.miss("a".to_owned(), at(9));
        assert_eq!((outage.is_on(), outage.end(), outage.is_on()), (true, 0, false));
    }

    #[test]
    fn the_wait_for_a_missing_group_grows_to_five_seconds() {
        let mut outage = Outage::default();
        for _ in 0..9 {
            outage.fail(String::new(), at(0), 0.5);
        }
        let waits = [(); 6].map(|()| outage.miss(String::new(), at(0)).0.as_secs());
        assert_eq!(waits, [1, 2, 4, 5, 5, 5]);
    }

    #[test]
    fn the_wait_grows_to_two_seconds() {
        let mut outage = Outage::default();
        outage.miss(String::new(), at(0));
        let waits = [(); 8].map(|()| outage.fail(String::new(), at(0), 1.0).0.as_millis());
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
    }

    #[test]
    fn no_wait_is_longer_than_the_bound() {
        let mut outage = Outage::bounded(Duration::from_millis(700));
        for _ in 0..50 {
            let (wait, _) = outage.fail(String::new(), at(0), 1.0);
            assert!(wait <= Duration::from_millis(700));
        }
    }
}
