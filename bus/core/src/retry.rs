//! Retrying: the delay before the next try, when to stop trying, and how often to log it.

pub mod backoff;
pub mod breaker;
pub mod outage;
