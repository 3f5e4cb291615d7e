//! What the tests of this workspace share: servers and programs of their own, and waiting for a condition.

pub mod programs;
pub mod redis;
pub mod wait;
