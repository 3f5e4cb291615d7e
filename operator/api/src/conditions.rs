//! Condition types, and drafts of conditions whose transition time changes only with their status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Type of the condition that summarizes the others; its reason is the column STATE of `kubectl get`.
pub const READY: &str = "Ready";
/// Type of the condition that is true while Redis responds.
pub const REDIS_REACHABLE: &str = "RedisReachable";
/// Type of the condition that is true while the stream exists.
pub const STREAM_EXISTS: &str = "StreamExists";
/// Type of the condition that is true while the group exists and is not ahead of its stream.
pub const GROUP_READY: &str = "GroupReady";
/// Type of the condition that is true while a consumer pod is ready or no pod is desired.
pub const CONSUMERS_AVAILABLE: &str = "ConsumersAvailable";
/// Type of the condition that is present, with the status True, while another resource owns the group.
pub const CONFLICT: &str = "Conflict";

/// A condition without its generation and transition time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionDraft {
    /// Type: one of the constants of this module.
    pub type_: &'static str,
    /// Status; `None` is `Unknown`.
    pub status: Option<bool>,
    /// Reason: one of [`crate::reasons`].
    pub reason: &'static str,
    /// Message for people: the fact, and the way out where a person has to act.
    pub message: String,
}

/// Maximum length of a message in bytes: the API server rejects more than 32,768.
const MAX_MESSAGE: usize = 32_000;

impl ConditionDraft {
    /// Creates a draft.
    #[must_use]
    pub fn new(
        type_: &'static str,
        status: Option<bool>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, status, reason, message: message.into() }
    }

    /// Completes the condition; keeps the transition time of `previous` if the status is the same.
    #[must_use]
    pub fn complete(self, previous: &[Condition], generation: i64, now: Timestamp) -> Condition {
        let status = match self.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = previous.iter().find(|c| c.type_ == self.type_ && c.status == status);
        let mut message = self.message;
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
        }
        Condition {
            type_: self.type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message,
            observed_generation: Some(generation),
            last_transition_time: same.map_or(Time(now), |c| c.last_transition_time.clone()),
        }
    }
}

/// Returns the condition of type `type_`.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_transition_time_changes_only_with_the_status() {
        let first = ConditionDraft::new("Ready", Some(true), "Idle", "").complete(&[], 1, at(1));
        let before = [first];
        let other_reason =
            ConditionDraft::new("Ready", Some(true), "Consuming", "x").complete(&before, 2, at(2));
        assert_eq!(other_reason.last_transition_time, Time(at(1)));
        assert_eq!(other_reason.observed_generation, Some(2));
        let other_status =
            ConditionDraft::new("Ready", Some(false), "Stalled", "").complete(&before, 2, at(3));
        assert_eq!(other_status.last_transition_time, Time(at(3)));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = ConditionDraft::new("Ready", None, "Unknown", "é".repeat(20_000)).complete(
            &[],
            1,
            at(1),
        );
        assert_eq!(long.message.len(), 32_000);
        assert_eq!(long.status, "Unknown");
    }
}
