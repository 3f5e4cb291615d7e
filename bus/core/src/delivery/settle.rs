//! Decision about an event whose handler call ended.

use super::{Answer, DAY, DeadLetter, DelayRequest, DeliveryConfig, EntryRef, Outcome, Pool};

/// Decision about an event whose handler call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    Acknowledge,
    Delay(DelayRequest),
    DeadLetter(DeadLetter),
}

/// Decides by how attempt number `attempt` (from 1) ended; `random` is uniform in `0.0..1.0`.
pub(super) fn settle(
    entry: EntryRef,
    attempt: u32,
    outcome: Outcome,
    config: &DeliveryConfig,
    random: f64,
) -> Disposition {
    let dead_letter = |reason, error| {
        Disposition::DeadLetter(DeadLetter { entry, attempts: attempt, reason, error })
    };
    let (after, error) = match outcome {
        Outcome::Answered(Answer::Done) => return Disposition::Acknowledge,
        Outcome::Answered(Answer::Dead { reason }) => return dead_letter("rejected", reason),
        Outcome::Answered(Answer::Retry { after, reason }) => (after, reason),
        Outcome::TimedOut => (None, format!("the handler took longer than {:?}", config.timeout)),
        Outcome::Panicked => (None, "the handler panicked".to_owned()),
        Outcome::CutOff => (None, "the handler was cut off by a shutdown".to_owned()),
    };
    if attempt >= config.max_attempts {
        return dead_letter("exhausted", error);
    }
    // A hint from outside lengthens the wait, and never takes the backoff away.
    let delay = config.backoff.delay(attempt, random).max(after.unwrap_or_default()).min(DAY);
    Disposition::Delay(DelayRequest { id: entry.id, attempts: attempt, delay, pool: Pool::Delayed })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::delivery::Source;
    use crate::names::EntryId;
    use crate::retry::backoff::Backoff;

    use super::*;

    const ENTRY: EntryRef = EntryRef { source: Source::Stream, id: EntryId { ms: 1, seq: 0 } };

    fn after_attempt(attempt: u32, outcome: Outcome) -> Disposition {
        let backoff = Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            multiplier: 2,
            jitter_percent: 0,
        };
        let config = DeliveryConfig { backoff, max_attempts: 4, ..DeliveryConfig::default() };
        settle(ENTRY, attempt, outcome, &config, 0.5)
    }

    fn delayed(attempts: u32, seconds: u64) -> Disposition {
        let delay = Duration::from_secs(seconds);
        Disposition::Delay(DelayRequest { id: ENTRY.id, attempts, delay, pool: Pool::Delayed })
    }

    fn dead_lettered(attempts: u32, reason: &'static str, error: &str) -> Disposition {
        Disposition::DeadLetter(DeadLetter {
            entry: ENTRY,
            attempts,
            reason,
            error: error.to_owned(),
        })
    }

    fn retry(after: Option<Duration>) -> Outcome {
        Outcome::Answered(Answer::Retry { after, reason: "no".into() })
    }

    #[test]
    fn only_an_answer_of_done_acknowledges() {
        let done = Outcome::Answered(Answer::Done);
        assert_eq!(after_attempt(1, done), Disposition::Acknowledge);
        for outcome in [retry(None), Outcome::TimedOut, Outcome::Panicked, Outcome::CutOff] {
            assert_eq!(after_attempt(3, outcome), delayed(3, 4));
        }
    }

    #[test]
    fn a_handler_that_names_a_longer_time_gets_it_up_to_a_day() {
        assert_eq!(after_attempt(1, retry(Some(Duration::from_secs(600)))), delayed(1, 600));
        assert_eq!(after_attempt(1, retry(Some(DAY * 2))), delayed(1, 86_400));
    }

    #[test]
    fn case_08_a_handler_that_names_a_shorter_time_waits_for_the_backoff() {
        for short in [Duration::ZERO, Duration::from_millis(3_999)] {
            assert_eq!(after_attempt(3, retry(Some(short))), delayed(3, 4), "{short:?}");
        }
    }

    #[test]
    fn an_answer_of_dead_is_dead_lettered_with_its_reason() {
        let dead = Outcome::Answered(Answer::dead("422"));
        assert_eq!(after_attempt(2, dead), dead_lettered(2, "rejected", "422"));
    }

    #[test]
    fn when_the_last_attempt_fails_the_event_is_dead_lettered_with_what_went_wrong() {
        let cases = [
            (retry(Some(Duration::from_secs(1))), "no"),
            (Outcome::TimedOut, "the handler took longer than 30s"),
            (Outcome::Panicked, "the handler panicked"),
            (Outcome::CutOff, "the handler was cut off by a shutdown"),
        ];
        for (outcome, error) in cases {
            assert_eq!(after_attempt(4, outcome.clone()), dead_lettered(4, "exhausted", error));
            assert_eq!(after_attempt(5, outcome), dead_lettered(5, "exhausted", error));
        }
    }
}
