//! What changed for one group from one snapshot to the next, and for how long nothing did. Pure.

use std::time::{Duration, Instant};

use eventbus::EntryId;

use super::state::RedisState;

/// Work that does not move for so long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// One group from snapshot to snapshot.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The last state, whole.
    pub(super) state: RedisState,
    comparable: RedisState,
    marker: Option<(EntryId, u64)>,
    since: Instant,
    moving: bool,
    stalled: bool,
}

impl Progress {
    /// Takes the state that was read; returns true with it where there is something new to report. `at_work`: pods
    /// are ready, so that events should move if there are any.
    pub(super) fn advance(
        before: Option<&Self>,
        state: RedisState,
        at_work: bool,
        now: Instant,
    ) -> (Self, bool) {
        let comparable = without_clocks(&state);
        let moving = before.is_some_and(|before| before.comparable != comparable);
        let (marker, has_work) = marker(&state);
        let since = match before {
            Some(before) if before.marker == marker && at_work && has_work => before.since,
            _ => now,
        };
        let stalled = now.saturating_duration_since(since) >= STALLED_AFTER;
        let is_new = before
            .is_none_or(|before| moving || before.moving != moving || before.stalled != stalled);
        let state = with_flags(state, moving, stalled);
        (Self { state, comparable, marker, since, moving, stalled }, is_new)
    }

    /// Returns true where the last snapshot differs from the one before.
    pub(super) fn is_moving(&self) -> bool {
        self.moving
    }
}

/// Returns a marker that moves with every delivery and every acknowledgement; and whether there is work.
fn marker(state: &RedisState) -> (Option<(EntryId, u64)>, bool) {
    let RedisState::Read(snapshot) = state else {
        return (None, false);
    };
    let marker = snapshot.view.facts().map(|group| (group.last_delivered, group.pending));
    (marker, snapshot.view.backlog() != Some(0))
}

fn without_clocks(state: &RedisState) -> RedisState {
    match state {
        RedisState::Read(snapshot) => RedisState::Read(Box::new(snapshot.without_clocks())),
        other => other.clone(),
    }
}

fn with_flags(state: RedisState, moving: bool, stalled: bool) -> RedisState {
    match state {
        RedisState::Read(mut snapshot) => {
            (snapshot.is_moving, snapshot.is_stalled) = (moving, stalled);
            RedisState::Read(snapshot)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use crate::redis::state::ReadFailure;
    use crate::testing::{changed, instant, read};

    use super::*;

    fn at(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn flags(progress: &Progress) -> (bool, bool) {
        let RedisState::Read(view) = &progress.state else { panic!() };
        (view.is_moving, view.is_stalled)
    }

    #[test]
    fn a_change_and_the_rest_after_it_are_new_and_the_rest_of_the_rest_is_not() {
        let start = instant();
        let (first, new) = Progress::advance(None, read(Some(3)), true, start);
        assert!(new);
        let (moved, new) = Progress::advance(Some(&first), read(Some(2)), true, at(1, start));
        assert_eq!((new, flags(&moved)), (true, (true, false)));
        let (rests, new) = Progress::advance(Some(&moved), read(Some(2)), true, at(2, start));
        assert_eq!((new, flags(&rests)), (true, (false, false)));
        let (_, new) = Progress::advance(Some(&rests), read(Some(2)), true, at(3, start));
        assert!(!new);
    }

    #[test]
    fn the_servers_clock_alone_is_nothing_new() {
        let start = instant();
        let later = |ms| changed(read(Some(0)), |stream, _| stream.server_ms = ms);
        let (first, _) = Progress::advance(None, later(1), true, start);
        let (second, new) = Progress::advance(Some(&first), later(2_000), true, at(1, start));
        assert!(!new);
        let RedisState::Read(view) = second.state else { panic!() };
        assert_eq!(view.stream().server_ms, 2_000);
    }

    #[test]
    fn work_that_does_not_move_for_a_minute_is_stalled_and_told_once() {
        let start = instant();
        let (mut progress, _) = Progress::advance(None, read(Some(3)), true, start);
        let mut reported = Vec::new();
        for second in 1..=62 {
            let (next, new) =
                Progress::advance(Some(&progress), read(Some(3)), true, at(second, start));
            if new {
                reported.push((second, flags(&next)));
            }
            progress = next;
        }
        assert_eq!(reported, [(60, (false, true))]);
    }

    #[test]
    fn without_ready_pods_or_without_work_nothing_stalls() {
        let start = instant();
        for (lag, at_work) in [(3, false), (0, true)] {
            let (first, _) = Progress::advance(None, read(Some(lag)), at_work, start);
            let (later, _) =
                Progress::advance(Some(&first), read(Some(lag)), at_work, at(100, start));
            assert_eq!(flags(&later), (false, false), "{lag} {at_work}");
        }
    }

    #[test]
    fn losing_redis_and_finding_it_again_are_new() {
        let start = instant();
        let down = || RedisState::Failed(ReadFailure::Unreachable("down".into()));
        let (first, _) = Progress::advance(None, read(Some(0)), true, start);
        let (lost, new) = Progress::advance(Some(&first), down(), true, at(1, start));
        assert!(new);
        let (_, new) = Progress::advance(Some(&lost), read(Some(0)), true, at(2, start));
        assert!(new);
    }
}
