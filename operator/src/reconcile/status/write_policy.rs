//! Policy of status writes: at once after a time without changes, at intervals while the numbers change. Pure.

use std::time::Duration;

use eventbus_api::EventConsumerGroupStatus;

use crate::kubernetes::write_budget::Priority;

/// Interval of the writes of one resource whose numbers keep changing.
const MOVING: Duration = Duration::from_secs(5);
/// Interval of the writes of one resource whose numbers have stopped changing; below [`MOVING`], so that the final numbers
/// are written within 5 s although it takes another snapshot to know that they are final.
const AT_REST: Duration = Duration::from_millis(3_500);
/// Interval of the writes of one resource whose Ready changed.
const READY: Duration = Duration::from_secs(1);

/// Change of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that has to be written.
    Nothing,
    /// Change of Ready or of the observed generation.
    Ready,
    /// Change of other fields.
    Numbers {
        /// True: they still change from snapshot to snapshot.
        moving: bool,
    },
}

impl Change {
    /// Returns the priority of its write.
    pub(super) fn priority(self) -> Priority {
        match self {
            Self::Ready => Priority::High,
            Self::Nothing | Self::Numbers { .. } => Priority::Normal,
        }
    }
}

/// Returns the change from the last status to the new one.
#[must_use]
pub fn change(
    old: Option<&EventConsumerGroupStatus>,
    new: &EventConsumerGroupStatus,
    moving: bool,
) -> Change {
    let Some(old) = old else {
        return Change::Ready;
    };
    if !differs(old, new) {
        return Change::Nothing;
    }
    let summary = |s: &EventConsumerGroupStatus| {
        // The reasons Idle and Consuming change with every event, so that a reason counts only if Ready is not True.
        let ready =
            s.ready().map(|c| (c.status.clone(), (c.status != "True").then(|| c.reason.clone())));
        (s.observed_generation, ready)
    };
    if summary(old) == summary(new) { Change::Numbers { moving } } else { Change::Ready }
}

/// Returns true if `new` differs in more than the times of reading and the idle times.
fn differs(old: &EventConsumerGroupStatus, new: &EventConsumerGroupStatus) -> bool {
    let lasting = |status: &EventConsumerGroupStatus| {
        let mut status = status.clone();
        status.last_check = None;
        if let Some(position) = &mut status.position {
            position.recorded_at = None;
        }
        for consumer in status.consumers.iter_mut().flat_map(|consumers| &mut consumers.items) {
            consumer.idle = None;
        }
        status
    };
    lasting(old) != lasting(new)
}

/// Returns the time that the change has to wait, `since_last` after the last write of this resource; `None`: no write.
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

#[cfg(test)]
mod tests {
    use eventbus_api::conditions::ConditionDraft;
    use eventbus_api::{ConsumerStatus, ConsumersStatus, PositionStatus};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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
    fn a_status_without_a_change_is_not_written() {
        let old = status(true, "Idle", 0);
        assert_eq!(change(Some(&old), &old.clone(), true), Change::Nothing);
        assert_eq!(wait(Change::Nothing, None), None);
    }

    #[test]
    fn times_and_idle_times_alone_are_no_change() {
        let now = |second| Some(Time(Timestamp::from_second(second).unwrap()));
        let at = |second: i64| {
            let idle = Some(format!("{second}s"));
            let consumer = ConsumerStatus { name: "c".into(), idle, ..ConsumerStatus::default() };
            EventConsumerGroupStatus {
                last_check: now(second),
                position: Some(PositionStatus {
                    recorded_at: now(second),
                    ..PositionStatus::default()
                }),
                consumers: Some(ConsumersStatus {
                    items: vec![consumer],
                    ..ConsumersStatus::default()
                }),
                ..status(true, "Idle", 0)
            }
        };
        assert!(!differs(&at(1), &at(9)));
        assert!(differs(&at(1), &EventConsumerGroupStatus { pending: Some(1), ..at(9) }));
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
    fn the_first_change_after_quiet_is_written_at_once() {
        let moving = Change::Numbers { moving: true };
        assert_eq!(wait(moving, Some(Duration::from_secs(5))), Some(Duration::ZERO));
        assert_eq!(wait(moving, None), Some(Duration::ZERO));
    }

    #[test]
    fn numbers_that_keep_changing_are_written_every_five_seconds() {
        let moving = Change::Numbers { moving: true };
        assert_eq!(wait(moving, Some(Duration::from_secs(1))), Some(Duration::from_secs(4)));
    }

    #[test]
    fn final_numbers_are_written_within_five_seconds_of_the_last_write() {
        let at_rest = Change::Numbers { moving: false };
        assert_eq!(wait(at_rest, Some(Duration::from_secs(1))), Some(Duration::from_millis(2_500)));
    }
}
