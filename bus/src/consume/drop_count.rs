//! Count of dead letters that were dropped at their maximum length.

use eventbus_core::delivery::Moment;
use eventbus_core::retry::outage::LogThrottle;
use prometheus_client::metrics::counter::Counter;

/// Count of the dead letters that one consumer dropped at their maximum length: in the metric at once, in the log at
/// intervals.
#[derive(Debug)]
pub(super) struct DropCount {
    dropped: Counter,
    throttle: LogThrottle,
}

impl DropCount {
    /// Creates a count that adds to `dropped`.
    pub fn new(dropped: Counter) -> Self {
        Self { dropped, throttle: LogThrottle::default() }
    }

    /// Adds `number`. Returns the number since the last log line, if one is due at `now`.
    pub fn add(&self, number: u64, now: Moment) -> Option<u64> {
        if number == 0 {
            return None;
        }
        self.dropped.inc_by(number);
        self.throttle.record("dropped".to_owned(), number, now - Moment::START)
    }
}
