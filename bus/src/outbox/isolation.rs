//! Isolation of an event that Redis refuses: batches get smaller until it is sent alone, and after some tries it is set
//! aside.

use crate::error::Class;

use super::mark::Position;

/// Number of times that an event is sent alone, and refused, before it is set aside.
const MAX_TRIES: u32 = 5;

/// Maximum number of events that are set aside in a row, without an accepted one between them, for a reason that may
/// concern every event. Beyond it the outbox waits: otherwise a server that refuses all would empty it.
const MAX_IN_A_ROW: u32 = 8;

/// Next step after a refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait, then send again.
    Wait,
    /// Send a smaller batch at once.
    SendFewer,
    /// Set the event aside, which was refused so often.
    SetAside(u32),
}

/// State of the isolation.
#[derive(Debug)]
pub(super) struct Isolation {
    max_batch: usize,
    /// End of the event that was refused alone, with the number of times.
    refused_alone: Option<(Position, u32)>,
    in_a_row: u32,
}

impl Default for Isolation {
    fn default() -> Self {
        Self { max_batch: usize::MAX, refused_alone: None, in_a_row: 0 }
    }
}

impl Isolation {
    /// Returns the current maximum size of a batch.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Returns `true` if the event that ends at `end` was refused alone. Before it is sent again, another command has to
    /// show that the connection works.
    pub fn was_refused_alone(&self, end: Position) -> bool {
        self.refused_alone.is_some_and(|(refused, _)| refused == end)
    }

    /// Records that Redis accepted a batch.
    pub fn accepted(&mut self) {
        let max_batch = self.max_batch.saturating_mul(2);
        *self = Self { max_batch, ..Self::default() };
    }

    /// Records that Redis refused a batch of so many events, of which the first ends at `end`.
    pub fn refused(&mut self, class: Option<Class>, events: usize, end: Position) -> Step {
        let (Some(Class::TooLarge | Class::Unknown | Class::Closed), 1..) = (class, events) else {
            return Step::Wait;
        };
        self.max_batch = (events / 2).max(1);
        if events > 1 {
            // A connection is closed for other reasons too.
            return if class == Some(Class::Closed) { Step::Wait } else { Step::SendFewer };
        }
        let before = self.refused_alone.filter(|(refused, _)| *refused == end);
        let tries = before.map_or(0, |(_, tries)| tries) + 1;
        self.refused_alone = Some((end, tries));
        let is_own_fault = class == Some(Class::TooLarge);
        if tries < MAX_TRIES || (!is_own_fault && self.in_a_row >= MAX_IN_A_ROW) {
            return Step::Wait;
        }
        Step::SetAside(tries)
    }

    /// Records that the event refused last was set aside.
    pub fn set_aside(&mut self, class: Option<Class>) {
        self.refused_alone = None;
        self.in_a_row += u32::from(class != Some(Class::TooLarge));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Option<Class> = Some(Class::Unknown);
    const TOO_LARGE: Option<Class> = Some(Class::TooLarge);

    fn at(offset: u64) -> Position {
        Position { segment: 1, offset }
    }

    /// Refuses the event at `offset` alone until it is set aside; `false` if it never is.
    fn is_set_aside(isolation: &mut Isolation, class: Option<Class>, offset: u64) -> bool {
        let mut steps = (0..20).map(|_| isolation.refused(class, 1, at(offset)));
        let is_set_aside = steps.any(|step| matches!(step, Step::SetAside(_)));
        isolation.set_aside(class);
        is_set_aside
    }

    #[test]
    fn a_refused_batch_is_halved_down_to_one_event_and_grows_again() {
        let mut isolation = Isolation::default();
        let mut sizes = vec![];
        for events in [21, 10, 5, 2] {
            assert_eq!(isolation.refused(TOO_LARGE, events, at(9)), Step::SendFewer);
            sizes.push(isolation.max_batch());
        }
        assert_eq!(sizes, [10, 5, 2, 1]);
        isolation.accepted();
        isolation.accepted();
        assert_eq!(isolation.max_batch(), 4);
    }

    #[test]
    fn an_event_is_set_aside_at_its_fifth_refusal() {
        let mut isolation = Isolation::default();
        let steps = [(); 5].map(|()| isolation.refused(TOO_LARGE, 1, at(9)));
        assert_eq!(steps, [Step::Wait, Step::Wait, Step::Wait, Step::Wait, Step::SetAside(5)]);
    }

    #[test]
    fn tries_of_another_event_do_not_count() {
        let mut isolation = Isolation::default();
        for _ in 0..4 {
            isolation.refused(TOO_LARGE, 1, at(9));
        }
        assert_eq!(isolation.refused(TOO_LARGE, 1, at(10)), Step::Wait);
        assert!(isolation.was_refused_alone(at(10)) && !isolation.was_refused_alone(at(9)));
    }

    #[test]
    fn what_concerns_every_event_waits_and_is_never_set_aside() {
        let classes = [
            Class::Unanswered,
            Class::Busy,
            Class::NotPrimary,
            Class::NoGroup,
            Class::ManualFix,
            Class::StreamExhausted,
        ];
        for class in classes.map(Some).into_iter().chain([None]) {
            let mut isolation = Isolation::default();
            assert!(!is_set_aside(&mut isolation, class, 9), "{class:?}");
            assert_eq!(isolation.max_batch(), usize::MAX, "{class:?}");
        }
    }

    #[test]
    fn a_closed_connection_isolates_with_a_wait_each_time() {
        let mut isolation = Isolation::default();
        let closed = Some(Class::Closed);
        assert_eq!(isolation.refused(closed, 8, at(9)), Step::Wait);
        assert_eq!(isolation.max_batch(), 4);
        assert!(is_set_aside(&mut isolation, closed, 9));
    }

    #[test]
    fn a_server_that_refuses_everything_moves_no_whole_backlog_aside() {
        let mut isolation = Isolation::default();
        let aside = (0..100).filter(|n| is_set_aside(&mut isolation, ANSWER, *n));
        assert_eq!(aside.count(), 8);
        isolation.accepted();
        assert!(is_set_aside(&mut isolation, ANSWER, 100), "another event was accepted");
    }

    #[test]
    fn any_number_of_events_that_are_too_large_is_set_aside() {
        let mut isolation = Isolation::default();
        assert!((0..100).all(|n| is_set_aside(&mut isolation, TOO_LARGE, n)));
    }
}
