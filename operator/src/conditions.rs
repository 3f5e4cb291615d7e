//! Conditions: one generation's truth, whose time moves only with it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// What a condition shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The condition's type.
    pub kind: &'static str,
    /// True, false, or `None` where it cannot be known.
    pub holds: Option<bool>,
    /// A cause in `CamelCase`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// The API server refuses longer messages.
const MAX_MESSAGE: usize = 32_000;

impl Said {
    /// A condition.
    #[must_use]
    pub fn new(
        kind: &'static str,
        holds: Option<bool>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, holds, reason, message: message.into() }
    }

    /// The condition as Kubernetes knows it; its time is that of `previous` where the status is still the same.
    #[must_use]
    pub fn condition(self, previous: &[Condition], generation: i64, now: Timestamp) -> Condition {
        let status = match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = previous.iter().find(|c| c.type_ == self.kind && c.status == status);
        let mut message = self.message;
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
        }
        Condition {
            type_: self.kind.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message,
            observed_generation: Some(generation),
            last_transition_time: same.map_or(Time(now), |c| c.last_transition_time.clone()),
        }
    }
}

/// The condition of a type.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_moves_only_with_the_status() {
        let first = Said::new("Ready", Some(true), "Idle", "").condition(&[], 1, at(1));
        let before = [first];
        let other_reason =
            Said::new("Ready", Some(true), "Consuming", "x").condition(&before, 2, at(2));
        assert_eq!(other_reason.last_transition_time, Time(at(1)));
        assert_eq!(other_reason.observed_generation, Some(2));
        let other_status =
            Said::new("Ready", Some(false), "Stalled", "").condition(&before, 2, at(3));
        assert_eq!(other_status.last_transition_time, Time(at(3)));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = Said::new("Ready", None, "Unknown", "é".repeat(20_000)).condition(&[], 1, at(1));
        assert_eq!(long.message.len(), 32_000);
        assert_eq!(long.status, "Unknown");
    }
}
