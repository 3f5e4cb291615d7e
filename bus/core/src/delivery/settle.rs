//! What the end of a handler call means for its event.

use super::{Answer, Burial, DAY, DeliveryConfig, EntryRef, Outcome, Parking, Pool};

/// What to do with an event whose handler call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    Acknowledge,
    Park(Parking),
    Bury(Burial),
}

/// Decides by how attempt number `attempt` (from 1) ended; `die` is uniform in `0.0..1.0`.
pub(super) fn settle(
    entry: EntryRef,
    attempt: u32,
    outcome: Outcome,
    config: &DeliveryConfig,
    die: f64,
) -> Settlement {
    let bury = |reason, error| Settlement::Bury(Burial { entry, attempts: attempt, reason, error });
    let (after, error) = match outcome {
        Outcome::Answered(Answer::Done) => return Settlement::Acknowledge,
        Outcome::Answered(Answer::Dead { reason }) => return bury("rejected", reason),
        Outcome::Answered(Answer::Retry { after, reason }) => (after, reason),
        Outcome::TimedOut => (None, format!("the handler took longer than {:?}", config.timeout)),
        Outcome::Panicked => (None, "the handler panicked".to_owned()),
        Outcome::CutOff => (None, "the handler was cut off by a shutdown".to_owned()),
    };
    if attempt >= config.max_attempts {
        return bury("exhausted", error);
    }
    let delay = after.unwrap_or_else(|| config.backoff.delay(attempt, die)).min(DAY);
    Settlement::Park(Parking { id: entry.id, attempts: attempt, delay, pool: Pool::Parked })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::delivery::Source;
    use crate::names::EntryId;
    use crate::retry::backoff::Backoff;

    use super::*;

    const ENTRY: EntryRef = EntryRef { source: Source::Stream, id: EntryId { ms: 1, seq: 0 } };

    fn after_attempt(attempt: u32, outcome: Outcome) -> Settlement {
        let backoff = Backoff {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            multiplier: 2,
            jitter_percent: 0,
        };
        let config = DeliveryConfig { backoff, max_attempts: 4, ..DeliveryConfig::default() };
        settle(ENTRY, attempt, outcome, &config, 0.5)
    }

    fn parked(attempts: u32, seconds: u64) -> Settlement {
        let delay = Duration::from_secs(seconds);
        Settlement::Park(Parking { id: ENTRY.id, attempts, delay, pool: Pool::Parked })
    }

    fn buried(attempts: u32, reason: &'static str, error: &str) -> Settlement {
        Settlement::Bury(Burial { entry: ENTRY, attempts, reason, error: error.to_owned() })
    }

    fn retry(after: Option<Duration>) -> Outcome {
        Outcome::Answered(Answer::Retry { after, reason: "no".into() })
    }

    #[test]
    fn only_an_answer_of_done_acknowledges() {
        let done = Outcome::Answered(Answer::Done);
        assert_eq!(after_attempt(1, done), Settlement::Acknowledge);
        for outcome in [retry(None), Outcome::TimedOut, Outcome::Panicked, Outcome::CutOff] {
            assert_eq!(after_attempt(3, outcome), parked(3, 4));
        }
    }

    #[test]
    fn a_handler_that_names_a_time_gets_it_up_to_a_day() {
        assert_eq!(after_attempt(1, retry(Some(Duration::from_secs(600)))), parked(1, 600));
        assert_eq!(after_attempt(1, retry(Some(DAY * 2))), parked(1, 86_400));
    }

    #[test]
    fn an_answer_of_dead_is_buried_with_its_reason() {
        let dead = Outcome::Answered(Answer::dead("422"));
        assert_eq!(after_attempt(2, dead), buried(2, "rejected", "422"));
    }

    #[test]
    fn when_the_last_attempt_fails_the_event_is_buried_with_what_went_wrong() {
        let cases = [
            (retry(Some(Duration::from_secs(1))), "no"),
            (Outcome::TimedOut, "the handler took longer than 30s"),
            (Outcome::Panicked, "the handler panicked"),
            (Outcome::CutOff, "the handler was cut off by a shutdown"),
        ];
        for (outcome, error) in cases {
            assert_eq!(after_attempt(4, outcome.clone()), buried(4, "exhausted", error));
            assert_eq!(after_attempt(5, outcome), buried(5, "exhausted", error));
        }
    }
}
