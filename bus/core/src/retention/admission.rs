//! Admission of events under a hard cap: send, read the length too, trim first, or refuse.

use std::time::Duration;

use super::{HardCap, Overflow};

/// Interval between two checks of the length.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Decision about one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Send the event.
    Send,
    /// Send the event, and read the length in the same write.
    SendAndCheck,
    /// Trim first, and pass the resulting length to [`AdmissionGate::trimmed`].
    TrimFirst,
    /// Refuse the event: the stream has this length.
    Refuse(u64),
}

/// Admission gate of one process: the stream's length as last known. Times count from any fixed moment.
#[derive(Debug)]
pub struct AdmissionGate {
    cap: HardCap,
    checked_at: Option<Duration>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    /// The length was at the cap; the result of trimming is not known yet.
    AtCap,
    /// The length is at the cap after trimming.
    Full(u64),
}

impl AdmissionGate {
    /// Creates a gate that has not read the length yet.
    pub fn new(cap: HardCap) -> Self {
        Self { cap, checked_at: None, state: State::Open }
    }

    /// Decides about an event that is published at `now`.
    pub fn admit(&mut self, now: Duration) -> Admission {
        let is_due = self.checked_at.is_none_or(|at| now >= at + CHECK_EVERY);
        let admission = match self.state {
            State::Open if is_due => Admission::SendAndCheck,
            State::AtCap | State::Full(_) if is_due => Admission::TrimFirst,
            State::Open | State::AtCap => Admission::Send,
            State::Full(length) => Admission::Refuse(length),
        };
        if is_due {
            self.checked_at = Some(now);
        }
        admission
    }

    /// Records the length that was read with a publish. Returns `true` if the oldest entries are to be dropped.
    pub fn published(&mut self, length: u64) -> bool {
        match self.cap.overflow {
            Overflow::DropOldest => length >= self.cap.entries + self.cap.step(),
            Overflow::Reject => {
                if length < self.cap.entries {
                    self.state = State::Open;
                } else if matches!(self.state, State::Open) {
                    // The next publish trims first, without waiting for the interval.
                    (self.state, self.checked_at) = (State::AtCap, None);
                }
                false
            }
        }
    }

    /// Records the length after trimming.
    pub fn trimmed(&mut self, length: u64) {
        let is_full = length >= self.cap.entries;
        self.state = if is_full { State::Full(length) } else { State::Open };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: u64 = 1_000;

    fn gate(overflow: Overflow) -> AdmissionGate {
        AdmissionGate::new(HardCap { entries: CAP, overflow })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_length_is_read_ten_times_a_second() {
        let mut gate = gate(Overflow::Reject);
        let checked =
            [0, 1, 99, 100, 150, 199, 250].map(|t| gate.admit(ms(t)) == Admission::SendAndCheck);
        assert_eq!(checked, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn at_the_cap_one_publish_trims_while_the_others_send() {
        let mut gate = gate(Overflow::Reject);
        gate.admit(ms(0));
        gate.published(CAP);
        assert_eq!(
            [1, 2, 3].map(|t| gate.admit(ms(t))),
            [Admission::TrimFirst, Admission::Send, Admission::Send]
        );
    }

    #[test]
    fn events_are_refused_only_after_trimming_did_not_help() {
        let mut gate = gate(Overflow::Reject);
        gate.published(CAP + 3);
        assert_eq!(gate.admit(ms(0)), Admission::TrimFirst);
        gate.trimmed(CAP + 1);
        assert_eq!(gate.admit(ms(1)), Admission::Refuse(CAP + 1));
    }

    #[test]
    fn a_full_stream_is_trimmed_ten_times_a_second_until_there_is_room() {
        let mut gate = gate(Overflow::Reject);
        gate.published(CAP);
        assert_eq!(gate.admit(ms(0)), Admission::TrimFirst);
        gate.trimmed(CAP);
        assert_eq!(gate.admit(ms(99)), Admission::Refuse(CAP));
        assert_eq!(gate.admit(ms(100)), Admission::TrimFirst);
        gate.trimmed(CAP - 1);
        assert_eq!(gate.admit(ms(101)), Admission::Send);
    }

    #[test]
    fn a_trim_that_failed_is_repeated_and_refuses_no_event() {
        let mut gate = gate(Overflow::Reject);
        gate.published(CAP);
        let admissions = [0, 50, 100].map(|t| gate.admit(ms(t)));
        assert_eq!(admissions, [Admission::TrimFirst, Admission::Send, Admission::TrimFirst]);
    }

    #[test]
    fn with_drop_oldest_no_event_is_refused() {
        let mut gate = gate(Overflow::DropOldest);
        assert!(!gate.published(CAP + 99));
        assert!(gate.published(CAP + 100));
        assert_eq!(gate.admit(ms(0)), Admission::SendAndCheck);
    }
}
