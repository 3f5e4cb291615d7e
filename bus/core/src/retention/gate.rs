//! When a publisher with a hard cap asks for the stream's length, and whether it may send.

use std::time::Duration;

use super::{HardCap, Overflow};

/// Between two looks at the length.
const LOOK: Duration = Duration::from_millis(100);

/// Decision about an event at the hard cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Send it.
    Send,
    /// Send it, and ask for the length in the same write.
    SendAndAsk,
    /// Make room first, and tell [`Gate::looked`] what that came to.
    MakeRoom,
    /// Refuse it: the stream has this length.
    Refuse(u64),
}

/// Knowledge of one process about a stream's length. Times count from any fixed moment.
#[derive(Debug)]
pub struct Gate {
    cap: HardCap,
    looked_at: Option<Duration>,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    Room,
    /// The length was at the cap when it was asked for; whether trimming helps is not known yet.
    Reached,
    /// Trimming did not help.
    Full(u64),
}

impl Gate {
    /// Knows nothing yet.
    pub fn new(cap: HardCap) -> Self {
        Self { cap, looked_at: None, standing: Standing::Room }
    }

    /// Decides about an event now.
    pub fn pass(&mut self, now: Duration) -> Pass {
        let due = self.looked_at.is_none_or(|at| now >= at + LOOK);
        let pass = match self.standing {
            Standing::Room if due => Pass::SendAndAsk,
            Standing::Reached | Standing::Full(_) if due => Pass::MakeRoom,
            Standing::Room | Standing::Reached => Pass::Send,
            Standing::Full(length) => Pass::Refuse(length),
        };
        if due {
            self.looked_at = Some(now);
        }
        pass
    }

    /// Notes a length that came with a publish; whether it is so far over the cap that entries are to be dropped.
    pub fn noted(&mut self, length: u64) -> bool {
        match self.cap.overflow {
            Overflow::DropOldest => length >= self.cap.entries + self.cap.step(),
            Overflow::Reject => {
                if length < self.cap.entries {
                    self.standing = Standing::Room;
                } else if matches!(self.standing, Standing::Room) {
                    // The next publish makes room, at once.
                    (self.standing, self.looked_at) = (Standing::Reached, None);
                }
                false
            }
        }
    }

    /// Notes the length after making room.
    pub fn looked(&mut self, length: u64) {
        let full = length >= self.cap.entries;
        self.standing = if full { Standing::Full(length) } else { Standing::Room };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: u64 = 1_000;

    fn gate(overflow: Overflow) -> Gate {
        Gate::new(HardCap { entries: CAP, overflow })
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_length_is_asked_for_ten_times_a_second() {
        let mut gate = gate(Overflow::Reject);
        let asked = [0, 1, 99, 100, 150, 199, 250].map(|t| gate.pass(ms(t)) == Pass::SendAndAsk);
        assert_eq!(asked, [true, false, false, true, false, false, true]);
    }

    #[test]
    fn at_the_cap_one_publish_makes_room_while_the_others_go_on() {
        let mut gate = gate(Overflow::Reject);
        gate.pass(ms(0));
        gate.noted(CAP);
        assert_eq!([1, 2, 3].map(|t| gate.pass(ms(t))), [Pass::MakeRoom, Pass::Send, Pass::Send]);
    }

    #[test]
    fn only_where_making_room_did_not_help_events_are_refused() {
        let mut gate = gate(Overflow::Reject);
        gate.noted(CAP + 3);
        assert_eq!(gate.pass(ms(0)), Pass::MakeRoom);
        gate.looked(CAP + 1);
        assert_eq!(gate.pass(ms(1)), Pass::Refuse(CAP + 1));
    }

    #[test]
    fn a_full_stream_is_looked_at_ten_times_a_second_until_there_is_room() {
        let mut gate = gate(Overflow::Reject);
        gate.noted(CAP);
        assert_eq!(gate.pass(ms(0)), Pass::MakeRoom);
        gate.looked(CAP);
        assert_eq!(gate.pass(ms(99)), Pass::Refuse(CAP));
        assert_eq!(gate.pass(ms(100)), Pass::MakeRoom);
        gate.looked(CAP - 1);
        assert_eq!(gate.pass(ms(101)), Pass::Send);
    }

    #[test]
    fn a_look_that_failed_is_repeated_and_refuses_nobody() {
        let mut gate = gate(Overflow::Reject);
        gate.noted(CAP);
        let passes = [0, 50, 100].map(|t| gate.pass(ms(t)));
        assert_eq!(passes, [Pass::MakeRoom, Pass::Send, Pass::MakeRoom]);
    }

    #[test]
    fn where_the_oldest_are_dropped_nothing_is_refused() {
        let mut gate = gate(Overflow::DropOldest);
        assert!(!gate.noted(CAP + 99));
        assert!(gate.noted(CAP + 100));
        assert_eq!(gate.pass(ms(0)), Pass::SendAndAsk);
    }
}
