//! Limits and times of delivery, and their ranges.

use std::fmt;
use std::time::Duration;

use crate::retry::backoff::Backoff;
use crate::settings::SettingError;

use super::DAY;

const HOUR: Duration = Duration::from_secs(3600);
const MAX_WORKERS: usize = 10_000;
const MIB: usize = 1024 * 1024;

/// Limits and times of delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeliveryConfig {
    /// Maximum number of handler calls for one event, from 1; then it becomes a dead letter. One more for an event whose
    /// process crashed. Default 5.
    pub max_attempts: u32,
    /// Time limit of a handler call; above 0 s, up to 1 h. Default 30 s.
    pub timeout: Duration,
    /// Maximum number of concurrent handler calls, 1 to 10,000; 1 for ordered delivery. Default 8.
    pub concurrency: usize,
    /// Maximum number of entries per read, 1 to 1000. Default 16. At most `concurrency + batch_size` are in flight.
    pub batch_size: usize,
    /// Maximum size of the entries that are in flight, in bytes, from 1 MiB: so many are read as fit if each is as large as
    /// the largest one lately. One entry is read in any case. Default 64 MiB.
    pub max_bytes: usize,
    /// Time without a heartbeat after which other consumers claim a consumer's entries, 1 s to 1 h. Default 30 s.
    pub lease: Duration,
    /// Delay before a failed event is retried.
    pub backoff: Backoff,
    /// Order of delivery: none, or one by one in the stream's order. Default: none.
    pub ordering: DeliveryOrder,
    /// Grace period of a shutdown before handlers are cut off; above 0 s, up to 24 h. Default `timeout` + 5 s.
    pub grace: Duration,
}

/// Order of delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// No order: a failed event does not delay others.
    #[default]
    None,
    /// Order of the stream, across all consumers of the group: the next event is started once the one before is settled. A
    /// failing event blocks the others until it is handled or dead-lettered; a dead letter leaves a gap.
    Stream,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            timeout: Duration::from_secs(30),
            concurrency: 8,
            batch_size: 16,
            max_bytes: 64 * MIB,
            lease: Duration::from_secs(30),
            backoff: Backoff::default(),
            ordering: DeliveryOrder::None,
            grace: Duration::from_secs(35),
        }
    }
}

impl DeliveryConfig {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// Every invalid field, by its name.
    pub fn check(&self) -> Result<(), Vec<SettingError>> {
        let backoff = &self.backoff;
        let max_workers = if self.ordering == DeliveryOrder::Stream { 1 } else { MAX_WORKERS };
        let mut wrong = Vec::new();
        let mut check = |name: &str, value: &dyn fmt::Debug, ok: bool, allowed: &str| {
            if !ok {
                wrong.push(SettingError::new(name, &format!("{value:?}"), allowed));
            }
        };
        let above_zero = |span: Duration| !span.is_zero();
        let from_one = "must be at least 1";
        check("max_attempts", &self.max_attempts, self.max_attempts > 0, from_one);
        let ok = above_zero(self.timeout) && self.timeout <= HOUR;
        check("timeout", &self.timeout, ok, "must be above 0s and at most 1h");
        let ok = (1..=max_workers).contains(&self.concurrency);
        let allowed = "must be between 1 and 10000, and 1 for ordered delivery";
        check("concurrency", &self.concurrency, ok, allowed);
        let ok = (1..=1000).contains(&self.batch_size);
        check("batch_size", &self.batch_size, ok, "must be between 1 and 1000");
        check("max_bytes", &self.max_bytes, self.max_bytes >= MIB, "must be at least 1048576");
        let ok = (Duration::from_secs(1)..=HOUR).contains(&self.lease);
        check("lease", &self.lease, ok, "must be between 1s and 1h");
        check("backoff.max", &backoff.max, backoff.max <= DAY, "must be at most 24h");
        let ok = above_zero(backoff.initial) && backoff.initial <= backoff.max;
        let allowed = "must be above 0s and not exceed backoff.max";
        check("backoff.initial", &backoff.initial, ok, allowed);
        let ok = (1..=10).contains(&backoff.multiplier);
        check("backoff.multiplier", &backoff.multiplier, ok, "must be between 1 and 10");
        let ok = backoff.jitter_percent <= 100;
        check("backoff.jitter_percent", &backoff.jitter_percent, ok, "must be at most 100");
        let ok = above_zero(self.grace) && self.grace <= DAY;
        check("grace", &self.grace, ok, "must be above 0s and at most 24h");
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(DeliveryConfig::default().check(), Ok(()));
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let zero = Duration::ZERO;
        let config = DeliveryConfig {
            max_attempts: 0,
            timeout: zero,
            concurrency: 0,
            batch_size: 1001,
            max_bytes: MIB - 1,
            lease: Duration::from_millis(999),
            backoff: Backoff { initial: zero, max: DAY * 2, multiplier: 0, jitter_percent: 101 },
            ordering: DeliveryOrder::None,
            grace: zero,
        };
        let names: Vec<String> = config.check().unwrap_err().into_iter().map(|e| e.name).collect();
        let all = [
            "max_attempts",
            "timeout",
            "concurrency",
            "batch_size",
            "max_bytes",
            "lease",
            "backoff.max",
            "backoff.initial",
            "backoff.multiplier",
            "backoff.jitter_percent",
            "grace",
        ];
        assert_eq!(names, all);
    }

    #[test]
    fn an_order_is_kept_by_one_worker_only() {
        let ordered =
            DeliveryConfig { ordering: DeliveryOrder::Stream, ..DeliveryConfig::default() };
        let errors = ordered.check().unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "concurrency=\"8\": must be between 1 and 10000, and 1 for ordered delivery"
        );
        assert_eq!(DeliveryConfig { concurrency: 1, ..ordered }.check(), Ok(()));
    }
}
