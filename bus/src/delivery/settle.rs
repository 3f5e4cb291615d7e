//! What the end of a handler call means for its event.

use crate::backoff::Backoff;
use crate::names::EntryId;

use super::{Answer, Burial, DAY, Outcome, Parking};

/// What to do with an event whose handler call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    Acknowledge,
    Park(Parking),
    Bury(Burial),
}

/// Decides by how attempt number `attempt` (from 1) ended; `die` is uniform in `0.0..1.0`.
pub(super) fn settle(
    id: EntryId,
    attempt: u32,
    outcome: Outcome,
    backoff: &Backoff,
    die: f64,
) -> Settlement {
    let park = |delay| Settlement::Park(Parking { id, attempts: attempt, delay });
    match outcome {
        Outcome::Answered(Answer::Done) => Settlement::Acknowledge,
        Outcome::Answered(Answer::Dead { reason }) => {
            Settlement::Bury(Burial { id, attempts: attempt, reason: "rejected", error: reason })
        }
        Outcome::Answered(Answer::Retry { after: Some(after), .. }) => park(after.min(DAY)),
        Outcome::Answered(Answer::Retry { after: None, .. })
        | Outcome::TimedOut
        | Outcome::Panicked => park(backoff.delay(attempt, die)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ID: EntryId = EntryId { ms: 1, seq: 0 };
    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(60),
        multiplier: 2,
        jitter_percent: 0,
    };

    fn parked(attempts: u32, seconds: u64) -> Settlement {
        Settlement::Park(Parking { id: ID, attempts, delay: Duration::from_secs(seconds) })
    }

    fn retry(after: Option<Duration>) -> Outcome {
        Outcome::Answered(Answer::Retry { after, reason: "no".into() })
    }

    #[test]
    fn only_an_answer_of_done_acknowledges() {
        let done = Outcome::Answered(Answer::Done);
        assert_eq!(settle(ID, 1, done, &BACKOFF, 0.5), Settlement::Acknowledge);
        for outcome in [retry(None), Outcome::TimedOut, Outcome::Panicked] {
            assert_eq!(settle(ID, 3, outcome, &BACKOFF, 0.5), parked(3, 4));
        }
    }

    #[test]
    fn a_handler_that_names_a_time_gets_it_up_to_a_day() {
        assert_eq!(settle(ID, 1, retry(Some(BACKOFF.max)), &BACKOFF, 0.5), parked(1, 60));
        assert_eq!(settle(ID, 1, retry(Some(DAY * 2)), &BACKOFF, 0.5), parked(1, 86_400));
    }

    #[test]
    fn an_answer_of_dead_is_buried_with_its_reason() {
        let outcome = Outcome::Answered(Answer::Dead { reason: "422".into() });
        let burial = Burial { id: ID, attempts: 2, reason: "rejected", error: "422".into() };
        assert_eq!(settle(ID, 2, outcome, &BACKOFF, 0.5), Settlement::Bury(burial));
    }
}
