//! How often the sender tries again, and how often it says so.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backoff::full_jitter;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A run of failures. Times count from any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failures: u32,
    /// By cause, of which there are few: when it was last said, and how often it was met since.
    said: BTreeMap<String, (Duration, u64)>,
}

impl Outage {
    /// Notes a failure and answers how long to wait, and how often this cause was met since it was last said, if it is
    /// to be said now: at once, then once a minute.
    pub fn fail(&mut self, cause: String, now: Duration, die: f64) -> (Duration, Option<u64>) {
        self.failures = self.failures.saturating_add(1);
        let wait = full_jitter(self.failures, FIRST, LONGEST, die);
        (wait, self.say(cause, now))
    }

    /// As [`fail`](Self::fail), of what does not keep the sender from going on.
    pub fn say(&mut self, cause: String, now: Duration) -> Option<u64> {
        let Some((said_at, times)) = self.said.get_mut(&cause) else {
            self.said.insert(cause, (now, 0));
            return Some(1);
        };
        *times += 1;
        if now < *said_at + SAY_EVERY {
            return None;
        }
        *said_at = now;
        Some(std::mem::take(times))
    }

    /// It works again; answers how many failures there were.
    pub fn end(&mut self) -> u32 {
        std::mem::take(&mut self.failures)
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
        outage.fail("a".to_owned(), at(0), 0.5);
        assert_eq!((outage.end(), outage.end()), (1, 0));
        assert_eq!(outage.fail("a".to_owned(), at(1), 0.5).1, None);
    }

    #[test]
    fn it_is_tried_again_more_and_more_slowly_up_to_two_seconds() {
        let mut outage = Outage::default();
        let waits = [(); 8].map(|()| outage.fail(String::new(), at(0), 1.0).0.as_millis());
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
    }
}
