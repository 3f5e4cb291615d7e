//! Settings at the ends of their ranges.

use std::time::Duration;

use crate::delivery::DAY;
use crate::retry::backoff::Backoff;

use super::DeliveryConfig;

const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

fn wrong(change: impl FnOnce(&mut DeliveryConfig)) -> Vec<String> {
    let mut config = DeliveryConfig::default();
    change(&mut config);
    let errors = config.check().err().unwrap_or_default();
    errors.into_iter().map(|error| error.name).collect()
}

#[test]
fn the_smallest_and_the_largest_values_are_right() {
    let smallest = DeliveryConfig {
        max_attempts: 1,
        timeout: MILLISECOND,
        concurrency: 1,
        batch_size: 1,
        lease: Duration::from_secs(1),
        backoff: Backoff {
            initial: MILLISECOND,
            max: MILLISECOND,
            multiplier: 1,
            jitter_percent: 0,
        },
        grace: MILLISECOND,
        ..DeliveryConfig::default()
    };
    assert_eq!(smallest.check(), Ok(()));
    let largest = DeliveryConfig {
        max_attempts: u32::MAX,
        timeout: HOUR,
        concurrency: 10_000,
        batch_size: 1000,
        lease: HOUR,
        backoff: Backoff { initial: DAY, max: DAY, multiplier: 10, jitter_percent: 100 },
        grace: DAY,
        ..DeliveryConfig::default()
    };
    assert_eq!(largest.check(), Ok(()));
}

#[test]
fn one_step_beyond_its_range_a_value_is_wrong() {
    assert_eq!(wrong(|config| config.timeout = HOUR + MILLISECOND), ["timeout"]);
    assert_eq!(wrong(|config| config.grace = DAY + MILLISECOND), ["grace"]);
    assert_eq!(wrong(|config| config.concurrency = 10_001), ["concurrency"]);
    assert_eq!(wrong(|config| config.batch_size = 0), ["batch_size"]);
    assert_eq!(wrong(|config| config.lease = HOUR + MILLISECOND), ["lease"]);
    assert_eq!(wrong(|config| config.backoff.max = DAY + MILLISECOND), ["backoff.max"]);
    assert_eq!(
        wrong(|config| config.backoff.initial = config.backoff.max + MILLISECOND),
        ["backoff.initial"]
    );
    assert_eq!(wrong(|config| config.backoff.multiplier = 11), ["backoff.multiplier"]);
}
