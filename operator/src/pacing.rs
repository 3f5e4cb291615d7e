//! When a status that changed is written: soon after quiet, seldom while it keeps moving. Pure.

use std::time::{Duration, Instant};

use eventbus_api::EventConsumerGroupStatus;

use crate::status;

/// Between two writes of one resource whose numbers keep moving.
const MOVING: Duration = Duration::from_secs(5);
/// Between two writes of one resource whose numbers came to rest; below [`MOVING`], so that what stands at last is
/// told within 5 s although it takes a sweep to see that it rests.
const AT_REST: Duration = Duration::from_millis(3_500);
/// Between two writes of one resource whose Ready changed.
const READY: Duration = Duration::from_secs(1);
/// Writes that are kept back for changes of Ready.
const RESERVE: f64 = 5.0;

/// What changed in a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that is told.
    Nothing,
    /// Ready, or the generation that the status speaks of.
    Ready,
    /// Something else.
    Numbers {
        /// Whether it still changes from sweep to sweep.
        moving: bool,
    },
}

/// What differs between the status that stands and the one that is true now.
#[must_use]
pub fn change(
    old: Option<&EventConsumerGroupStatus>,
    new: &EventConsumerGroupStatus,
    moving: bool,
) -> Change {
    let Some(old) = old else {
        return Change::Ready;
    };
    if !status::differs(old, new) {
        return Change::Nothing;
    }
    let summary = |s: &EventConsumerGroupStatus| {
        let ready = status::ready(s);
        // Idle and Consuming change with every event: only a Ready that is not True tells its reason at once.
        let told =
            ready.map(|c| (c.status.clone(), (c.status != "True").then(|| c.reason.clone())));
        (s.observed_generation, told)
    };
    if summary(old) == summary(new) { Change::Numbers { moving } } else { Change::Ready }
}

/// How long a change still has to wait, `since_last` after the last write of this resource.
#[must_use]
pub fn wait(change: Change, since_last: Option<Duration>) -> Option<Duration> {
    let interval = match change {
        Change::Nothing => return None,
        Change::Ready => READY,
        Change::Numbers { moving: true } => MOVING,
        Change::Numbers { moving: false } => AT_REST,
    };
    Some(since_last.map_or(Duration::ZERO, |since| interval.saturating_sub(since)))
}

/// The writes of the whole operator: `rate` a second, of which changes of Ready get the first ones.
#[derive(Clone, Debug)]
pub struct Budget {
    rate: f64,
    left: f64,
    at: Instant,
}

impl Budget {
    /// A budget of `rate` writes a second, full at `now`.
    #[must_use]
    pub fn new(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate.max(1));
        Self { rate, left: rate, at: now }
    }

    /// Takes one write; else tells when to ask again.
    ///
    /// # Errors
    /// The time until there is one.
    pub fn take(&mut self, change: Change, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.rate).min(self.rate);
        self.at = now;
        let reserve = if change == Change::Ready { 0.0 } else { RESERVE.min(self.rate / 2.0) };
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
    use jiff::Timestamp;

    use eventbus_api::conditions::ConditionDraft;

    use super::*;

    fn status(holds: bool, reason: &'static str, lag: u64) -> EventConsumerGroupStatus {
        let now = Timestamp::from_second(1).unwrap();
        let ready = ConditionDraft::new("Ready", Some(holds), reason, "").complete(&[], 1, now);
        EventConsumerGroupStatus {
            observed_generation: Some(1),
            lag: Some(lag),
            conditions: vec![ready],
            ..EventConsumerGroupStatus::default()
        }
    }

    #[test]
    fn the_first_status_is_written_at_once() {
        assert_eq!(change(None, &status(true, "Idle", 0), false), Change::Ready);
    }

    #[test]
    fn a_status_that_tells_nothing_new_is_not_written() {
        let old = status(true, "Idle", 0);
        assert_eq!(change(Some(&old), &old.clone(), true), Change::Nothing);
        assert_eq!(wait(Change::Nothing, None), None);
    }

    #[test]
    fn idle_and_consuming_are_numbers_and_not_a_change_of_ready() {
        let (old, new) = (status(true, "Idle", 0), status(true, "Consuming", 1));
        assert_eq!(change(Some(&old), &new, true), Change::Numbers { moving: true });
    }

    #[test]
    fn another_ready_another_reason_against_it_and_another_generation_are_urgent() {
        let old = status(true, "Idle", 0);
        let unreachable = status(false, "RedisUnreachable", 0);
        assert_eq!(change(Some(&old), &unreachable, false), Change::Ready);
        assert_eq!(
            change(Some(&unreachable), &status(false, "AuthFailed", 0), false),
            Change::Ready
        );
        let edited = EventConsumerGroupStatus { observed_generation: Some(2), ..old.clone() };
        assert_eq!(change(Some(&old), &edited, false), Change::Ready);
    }

    #[test]
    fn the_first_change_after_quiet_waits_for_nothing() {
        let moving = Change::Numbers { moving: true };
        assert_eq!(wait(moving, Some(Duration::from_secs(5))), Some(Duration::ZERO));
        assert_eq!(wait(moving, None), Some(Duration::ZERO));
    }

    #[test]
    fn what_keeps_moving_is_written_every_five_seconds() {
        let moving = Change::Numbers { moving: true };
        assert_eq!(wait(moving, Some(Duration::from_secs(1))), Some(Duration::from_secs(4)));
    }

    #[test]
    fn what_came_to_rest_is_written_within_five_seconds_of_the_last_write() {
        let at_rest = Change::Numbers { moving: false };
        assert_eq!(wait(at_rest, Some(Duration::from_secs(1))), Some(Duration::from_millis(2_500)));
    }

    #[test]
    fn the_budget_lets_its_rate_pass_and_keeps_some_for_changes_of_ready() {
        let start = crate::testing::instant();
        let mut budget = Budget::new(50, start);
        let numbers = Change::Numbers { moving: true };
        let passed = (0..100).filter(|_| budget.take(numbers, start).is_ok()).count();
        assert_eq!(passed, 45);
        let ready = (0..100).filter(|_| budget.take(Change::Ready, start).is_ok()).count();
        assert_eq!(ready, 5);
        let again = budget.take(numbers, start).unwrap_err();
        assert_eq!(again, Duration::from_millis(120));
        assert!(budget.take(numbers, start + again).is_ok());
    }
}
