//! Decisions of the leader election, and the Leases that it writes. Pure.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::settings::LeaseTimes;

/// Next step of a replica.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Create the Lease, which does not exist.
    Create(Lease),
    /// Replace the Lease that was read by this one.
    Replace(Lease),
    /// Read the Lease again after this time.
    Wait(Duration),
}

/// Last change of the Lease that was observed, by the monotonic clock: the wall clocks of two replicas may differ.
#[derive(Clone, Debug, Default)]
pub(super) struct LastChange {
    version: Option<String>,
    since: Option<Instant>,
}

impl LastChange {
    /// Records the Lease as it was read at `now`.
    pub(super) fn record(&mut self, lease: Option<&Lease>, now: Instant) {
        let version = lease.and_then(|lease| lease.metadata.resource_version.clone());
        if self.since.is_none() || self.version != version {
            *self = Self { version, since: Some(now) };
        }
    }
}

/// Decides the next step. `times` are those of this replica; the duration of the holder is in the Lease.
pub(super) fn decide(
    lease: Option<Lease>,
    me: &str,
    times: &LeaseTimes,
    last_change: &LastChange,
    (now, wall_clock): (Instant, Timestamp),
) -> Step {
    let Some(lease) = lease else {
        return Step::Create(acquired(Lease::default(), me, times, wall_clock));
    };
    let is_free = holder(&lease).is_none_or(|holder| holder == me);
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let duration = Duration::from_secs(seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(0));
    let unchanged =
        last_change.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    if is_free || unchanged > duration {
        return Step::Replace(acquired(lease, me, times, wall_clock));
    }
    Step::Wait(times.retry)
}

/// Returns the holder of the Lease.
pub(super) fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
    holder.filter(|holder| !holder.is_empty())
}

/// Returns the Lease with the time of its renewal.
pub(super) fn renewed(mut lease: Lease, now: Timestamp) -> Lease {
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
    lease
}

/// Returns the Lease without a holder.
pub(super) fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.renew_time = Some(MicroTime(now));
    lease
}

fn acquired(mut lease: Lease, me: &str, times: &LeaseTimes, now: Timestamp) -> Lease {
    let before = lease.spec.take().unwrap_or_default();
    let is_transition = before.holder_identity.as_deref() != Some(me);
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: i32::try_from(times.duration.as_millis().div_ceil(1_000)).ok(),
        acquire_time: if is_transition { Some(MicroTime(now)) } else { before.acquire_time },
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(
            before.lease_transitions.unwrap_or(0).saturating_add(i32::from(is_transition)),
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

    fn lease_of(holder: &str) -> Lease {
        let mut lease = acquired(Lease::default(), holder, &TIMES, wall_clock());
        lease.metadata.resource_version = Some("7".into());
        lease
    }

    fn decided(lease: Option<Lease>, after: Duration) -> Step {
        let start = crate::testing::instant();
        let mut last_change = LastChange::default();
        last_change.record(lease.as_ref(), start);
        last_change.record(lease.as_ref(), start + after);
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
    fn a_lease_of_another_replica_is_acquired_after_it_has_expired() {
        let wait = decided(Some(lease_of("other")), Duration::from_secs(15));
        assert_eq!(wait, Step::Wait(Duration::from_secs(2)));
        let after = decided(Some(lease_of("other")), Duration::from_millis(15_001));
        let Step::Replace(lease) = after else { panic!() };
        assert_eq!(holder(&lease), Some("me"));
        assert_eq!(lease.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(lease.spec.unwrap().lease_transitions, Some(2));
    }

    #[test]
    fn a_released_lease_is_acquired_at_once() {
        let free = released(lease_of("other"), wall_clock());
        assert!(matches!(decided(Some(free), Duration::ZERO), Step::Replace(_)));
    }

    #[test]
    fn an_observed_renewal_restarts_the_wait() {
        let start = crate::testing::instant();
        let mut last_change = LastChange::default();
        let mut lease = lease_of("other");
        last_change.record(Some(&lease), start);
        lease.metadata.resource_version = Some("8".into());
        let later = start + Duration::from_secs(14);
        last_change.record(Some(&lease), later);
        let now = (later + Duration::from_secs(14), wall_clock());
        let step = decide(Some(lease), "me", &TIMES, &last_change, now);
        assert!(matches!(step, Step::Wait(_)));
    }

    #[test]
    fn acquiring_its_own_lease_is_no_transition() {
        let Step::Replace(lease) = decided(Some(lease_of("me")), Duration::ZERO) else { panic!() };
        assert_eq!(lease.spec.unwrap().lease_transitions, Some(1));
    }
}
