//! Who may take a Lease, and what is written into it. Pure.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::settings::LeaseTimes;

/// What a replica does next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Create the Lease, which does not exist.
    Create(Lease),
    /// Write the Lease over the one that was read.
    Take(Lease),
    /// Read it again after this time.
    Wait(Duration),
}

/// When the Lease was last seen to change, by our own clock: those of two replicas may differ.
#[derive(Clone, Debug, Default)]
pub(super) struct LastChange {
    version: Option<String>,
    since: Option<Instant>,
}

impl LastChange {
    /// Notes the Lease as it was read at `now`.
    pub(super) fn note(&mut self, lease: Option<&Lease>, now: Instant) {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        if self.since.is_none() || self.version != version {
            *self = Self { version, since: Some(now) };
        }
    }
}

/// Decides; `times` are those of this replica, a holder's own duration is in the Lease.
pub(super) fn decide(
    lease: Option<Lease>,
    me: &str,
    times: &LeaseTimes,
    last_change: &LastChange,
    (now, wall_clock): (Instant, Timestamp),
) -> Step {
    let Some(lease) = lease else {
        return Step::Create(taken(Lease::default(), me, times, wall_clock));
    };
    let is_free = holder(&lease).is_none_or(|holder| holder == me);
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let duration = Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0));
    let unchanged =
        last_change.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    if is_free || unchanged > duration {
        return Step::Take(taken(lease, me, times, wall_clock));
    }
    Step::Wait(times.retry)
}

/// The replica that holds the Lease.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    holder.filter(|holder| !holder.is_empty())
}

/// The Lease with the time of its renewal.
pub(super) fn renewed(mut lease: Lease, now: Timestamp) -> Lease {
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
    lease
}

/// The Lease without a holder.
pub(super) fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.renew_time = Some(MicroTime(now));
    lease
}

fn taken(mut lease: Lease, me: &str, times: &LeaseTimes, now: Timestamp) -> Lease {
    let before = lease.spec.take().unwrap_or_default();
    let changes_hands = before.holder_identity.as_deref() != Some(me);
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(times.duration.as_millis().div_ceil(1_000)).ok(),
        acquire_time: if changes_hands { Some(MicroTime(now)) } else { before.acquire_time },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(
            before.lease_transitions.unwrap_or(0).saturating_add(i32::from(changes_hands)),
        ),
        ..before
    });
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: LeaseTimes = LeaseTimes {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn wall_clock() -> Timestamp {
        Timestamp::from_second(100).unwrap()
    }

    fn held_by(holder: &str) -> Lease {
        let lease = taken(Lease::default(), holder, &TIMES, wall_clock());
        let mut lease = lease;
        lease.metadata.resource_version = Some("7".into());
        lease
    }

    fn decided(lease: Option<Lease>, after: Duration) -> Step {
        let start = crate::testing::instant();
        let mut last_change = LastChange::default();
        last_change.note(lease.as_ref(), start);
        last_change.note(lease.as_ref(), start + after);
        decide(lease, "me", &TIMES, &last_change, (start + after, wall_clock()))
    }

    #[test]
    fn a_lease_that_does_not_exist_is_created() {
        let Step::Create(lease) = decided(None, Duration::ZERO) else { panic!() };
        let spec = lease.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_duration_seconds, Some(15));
    }

    #[test]
    fn a_lease_of_somebody_else_is_left_until_it_ran_out() {
        let wait = decided(Some(held_by("other")), Duration::from_secs(15));
        assert_eq!(wait, Step::Wait(Duration::from_secs(2)));
        let after = decided(Some(held_by("other")), Duration::from_millis(15_001));
        let Step::Take(lease) = after else { panic!() };
        assert_eq!(holder(&lease), Some("me"));
        assert_eq!(lease.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(lease.spec.unwrap().lease_transitions, Some(2));
    }

    #[test]
    fn a_lease_that_was_given_up_is_taken_at_once() {
        let free = released(held_by("other"), wall_clock());
        assert!(matches!(decided(Some(free), Duration::ZERO), Step::Take(_)));
    }

    #[test]
    fn a_renewal_that_was_seen_starts_the_wait_anew() {
        let start = crate::testing::instant();
        let mut last_change = LastChange::default();
        let mut lease = held_by("other");
        last_change.note(Some(&lease), start);
        lease.metadata.resource_version = Some("8".into());
        let later = start + Duration::from_secs(14);
        last_change.note(Some(&lease), later);
        let now = (later + Duration::from_secs(14), wall_clock());
        let step = decide(Some(lease), "me", &TIMES, &last_change, now);
        assert!(matches!(step, Step::Wait(_)));
    }

    #[test]
    fn ones_own_lease_is_taken_again_and_does_not_change_hands() {
        let Step::Take(lease) = decided(Some(held_by("me")), Duration::ZERO) else { panic!() };
        assert_eq!(lease.spec.unwrap().lease_transitions, Some(1));
    }
}
