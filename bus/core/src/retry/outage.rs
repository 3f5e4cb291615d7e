//! Outages: the delay before the next try, and how often to log it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::retry::backoff::full_jitter;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A run of failures. Times count from any fixed moment.
#[derive(Debug)]
pub struct Outage {
    longest: Duration,
    failures: u32,
    /// Of the failures, those at the end at which the group was missing.
    groupless: usize,
    /// Whether any of them was said.
    is_said: bool,
    said: Said,
}

/// Log throttle, shared by clones: each cause is logged once for all of them. Times count from one moment.
#[derive(Clone, Debug, Default)]
pub struct Said(Arc<Mutex<Causes>>);

/// By cause, of which there are few: when it was last said, and how often it was met since.
type Causes = BTreeMap<String, (Duration, u64)>;

impl Default for Outage {
    fn default() -> Self {
        Self::bounded(LONGEST)
    }
}

impl Outage {
    /// With no wait longer than `longest`, or 2 s.
    pub fn bounded(longest: Duration) -> Self {
        Self { longest: longest.min(LONGEST), ..Self::sharing(Said::default()) }
    }

    /// Which says nothing that was said by another one that shares `said`.
    pub fn sharing(said: Said) -> Self {
        Self { longest: LONGEST, failures: 0, groupless: 0, is_said: false, said }
    }

    /// Notes a failure and answers how long to wait, and how often this cause was met since it was last said, if it is
    /// to be said now: at once, then once a minute.
    pub fn fail(&mut self, cause: String, now: Duration, die: f64) -> (Duration, Option<u64>) {
        if std::mem::take(&mut self.groupless) > 0 {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = full_jitter(self.failures, FIRST, self.longest, die);
        (wait, self.say(cause, now))
    }

    /// As [`fail`](Self::fail), of a group that is missing: it is looked for after 1, 2, 4, then every 5 s.
    pub fn miss(&mut self, cause: String, now: Duration) -> (Duration, Option<u64>) {
        const SECONDS: [u64; 4] = [1, 2, 4, 5];
        let wait = Duration::from_secs(SECONDS[self.groupless.min(SECONDS.len() - 1)]);
        self.groupless += 1;
        self.failures = self.failures.saturating_add(1);
        (wait, self.say(cause, now))
    }

    /// As [`fail`](Self::fail), of what keeps nothing from going on.
    pub fn say(&mut self, cause: String, now: Duration) -> Option<u64> {
        let times = self.said.note(cause, now);
        self.is_said |= times.is_some();
        times
    }

    /// Returns `true` during an outage.
    pub fn is_on(&self) -> bool {
        self.failures > 0
    }

    /// It works again; answers how many failures there were, if any of them was said: who heard of none is told of no
    /// end. What was said lately stays known.
    pub fn end(&mut self) -> u32 {
        self.groupless = 0;
        let failures = std::mem::take(&mut self.failures);
        if std::mem::take(&mut self.is_said) { failures } else { 0 }
    }
}

impl Said {
    fn note(&self, cause: String, now: Duration) -> Option<u64> {
        // No holder of the lock panics.
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((said_at, times)) = causes.get_mut(&cause) else {
            causes.insert(cause, (now, 0));
            return Some(1);
        };
        *times += 1;
        if now < *said_at + SAY_EVERY {
            return None;
        }
        *said_at = now;
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_cause_is_said_at_once_and_then_once_a_minute_with_its_number() {
        let mut outage = Outage::default();
        let mut say = |cause: &str, seconds| outage.fail(cause.to_owned(), at(seconds), 0.5).1;
        assert_eq!([say("a", 0), say("b", 1), say("a", 2)], [Some(1), Some(1), None]);
        assert_eq!([say("a", 59), say("b", 60), say("a", 60)], [None, None, Some(3)]);
    }

    #[test]
    fn an_outage_that_comes_and_goes_is_said_no_more_often() {
        let mut outage = Outage::default();
        let said = (0..120).map(|second| {
            let said = outage.fail("a".to_owned(), at(second), 0.5).1;
            (said, outage.end())
        });
        let said: Vec<_> = said.filter(|said| *said != (None, 0)).collect();
        assert_eq!(said, [(Some(1), 1), (Some(60), 1)]);
    }

    #[test]
    fn what_one_has_said_another_one_that_shares_it_does_not_say() {
        let said = Said::default();
        let (mut first, mut second) = (Outage::sharing(said.clone()), Outage::sharing(said));
        let say = |outage: &mut Outage, second| outage.fail("a".to_owned(), at(second), 0.5).1;
        assert_eq!(
            [say(&mut first, 0), say(&mut second, 1), say(&mut first, 2)],
            [Some(1), None, None]
        );
        assert_eq!(say(&mut second, 60), Some(3));
        assert_eq!((first.end(), second.end()), (2, 2));
    }

    #[test]
    fn of_an_outage_that_was_not_said_no_end_is_said() {
        let mut outage = Outage::default();
        outage.miss("a".to_owned(), at(0));
        outage.miss("a".to_owned(), at(1));
        assert_eq!((outage.is_on(), outage.end(), outage.is_on()), (true, 2, false));
        outage.miss("a".to_owned(), at(9));
        assert_eq!((outage.is_on(), outage.end(), outage.is_on()), (true, 0, false));
    }

    #[test]
    fn a_missing_group_is_looked_for_ever_more_slowly_up_to_five_seconds() {
        let mut outage = Outage::default();
        for _ in 0..9 {
            outage.fail(String::new(), at(0), 0.5);
        }
        let waits = [(); 6].map(|()| outage.miss(String::new(), at(0)).0.as_secs());
        assert_eq!(waits, [1, 2, 4, 5, 5, 5]);
    }

    #[test]
    fn it_is_tried_again_more_and_more_slowly_up_to_two_seconds() {
        let mut outage = Outage::default();
        outage.miss(String::new(), at(0));
        let waits = [(); 8].map(|()| outage.fail(String::new(), at(0), 1.0).0.as_millis());
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
    }

    #[test]
    fn reconnecting_never_waits_longer_than_its_bound() {
        let mut outage = Outage::bounded(Duration::from_millis(700));
        for _ in 0..50 {
            let (wait, _) = outage.fail(String::new(), at(0), 1.0);
            assert!(wait <= Duration::from_millis(700));
        }
    }
}
