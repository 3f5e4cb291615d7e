//! What a sweep changed for one group, and for how long nothing did. Pure.

use std::time::{Duration, Instant};

use eventbus::EntryId;

use crate::observed::RedisView;

/// Work that does not move for so long is stalled.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// One group from sweep to sweep.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The last view, whole.
    pub(super) view: RedisView,
    told: RedisView,
    marker: Option<(EntryId, u64)>,
    since: Instant,
    moving: bool,
    stalled: bool,
}

impl Progress {
    /// Takes the view of a sweep; the answer tells whether there is something new to report. `at_work`: pods are
    /// ready, so that events should move if there are any.
    pub(super) fn advance(
        before: Option<&Self>,
        view: RedisView,
        at_work: bool,
        now: Instant,
    ) -> (Self, bool) {
        let told = without_clocks(&view);
        let moving = before.is_some_and(|before| before.told != told);
        let (marker, has_work) = marker(&view);
        let since = match before {
            Some(before) if before.marker == marker && at_work && has_work => before.since,
            _ => now,
        };
        let stalled = now.saturating_duration_since(since) >= STALLED_AFTER;
        let is_new = before
            .is_none_or(|before| moving || before.moving != moving || before.stalled != stalled);
        let view = with_flags(view, moving, stalled);
        (Self { view, told, marker, since, moving, stalled }, is_new)
    }

    /// Whether the last sweep brought something else than the one before.
    pub(super) fn is_moving(&self) -> bool {
        self.moving
    }
}

/// Moves with every delivery and every acknowledgement; and whether there is work.
fn marker(view: &RedisView) -> (Option<(EntryId, u64)>, bool) {
    let RedisView::Seen(view) = view else {
        return (None, false);
    };
    let marker = view.group.as_ref().map(|group| (group.last_delivered, group.pending));
    (marker, view.backlog() != Some(0))
}

fn without_clocks(view: &RedisView) -> RedisView {
    match view {
        RedisView::Seen(view) => RedisView::Seen(Box::new(view.without_clocks())),
        other => other.clone(),
    }
}

fn with_flags(view: RedisView, moving: bool, stalled: bool) -> RedisView {
    match view {
        RedisView::Seen(mut view) => {
            (view.is_moving, view.is_stalled) = (moving, stalled);
            RedisView::Seen(view)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use crate::observed::Trouble;
    use crate::testing::{instant, seen};

    use super::*;

    fn at(seconds: u64, start: Instant) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn flags(progress: &Progress) -> (bool, bool) {
        let RedisView::Seen(view) = &progress.view else { panic!() };
        (view.is_moving, view.is_stalled)
    }

    #[test]
    fn a_change_and_the_rest_after_it_are_new_and_the_rest_of_the_rest_is_not() {
        let start = instant();
        let (first, new) = Progress::advance(None, seen(Some(3)), true, start);
        assert!(new);
        let (moved, new) = Progress::advance(Some(&first), seen(Some(2)), true, at(1, start));
        assert_eq!((new, flags(&moved)), (true, (true, false)));
        let (rests, new) = Progress::advance(Some(&moved), seen(Some(2)), true, at(2, start));
        assert_eq!((new, flags(&rests)), (true, (false, false)));
        let (_, new) = Progress::advance(Some(&rests), seen(Some(2)), true, at(3, start));
        assert!(!new);
    }

    #[test]
    fn the_servers_clock_alone_is_nothing_new() {
        let start = instant();
        let later = |ms| {
            let RedisView::Seen(mut view) = seen(Some(0)) else { panic!() };
            view.stream.server_ms = ms;
            RedisView::Seen(view)
        };
        let (first, _) = Progress::advance(None, later(1), true, start);
        let (second, new) = Progress::advance(Some(&first), later(2_000), true, at(1, start));
        assert!(!new);
        let RedisView::Seen(view) = second.view else { panic!() };
        assert_eq!(view.stream.server_ms, 2_000);
    }

    #[test]
    fn work_that_does_not_move_for_a_minute_is_stalled_and_told_once() {
        let start = instant();
        let (mut progress, _) = Progress::advance(None, seen(Some(3)), true, start);
        let mut told = Vec::new();
        for second in 1..=62 {
            let (next, new) =
                Progress::advance(Some(&progress), seen(Some(3)), true, at(second, start));
            if new {
                told.push((second, flags(&next)));
            }
            progress = next;
        }
        assert_eq!(told, [(60, (false, true))]);
    }

    #[test]
    fn without_ready_pods_or_without_work_nothing_stalls() {
        let start = instant();
        for (lag, at_work) in [(3, false), (0, true)] {
            let (first, _) = Progress::advance(None, seen(Some(lag)), at_work, start);
            let (later, _) =
                Progress::advance(Some(&first), seen(Some(lag)), at_work, at(100, start));
            assert_eq!(flags(&later), (false, false), "{lag} {at_work}");
        }
    }

    #[test]
    fn losing_redis_and_finding_it_again_are_new() {
        let start = instant();
        let down = || RedisView::Trouble(Trouble::Unreachable("down".into()));
        let (first, _) = Progress::advance(None, seen(Some(0)), true, start);
        let (lost, new) = Progress::advance(Some(&first), down(), true, at(1, start));
        assert!(new);
        let (_, new) = Progress::advance(Some(&lost), seen(Some(0)), true, at(2, start));
        assert!(new);
    }
}
