//! Retries: backoff, circuit breaker, and throttled logging of an outage.

pub mod backoff;
pub mod breaker;
pub mod outage;
pub mod pace;
