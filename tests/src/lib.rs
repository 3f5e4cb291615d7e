//! Shared parts of the tests of this workspace: servers and programs of their own, waiting for a condition, and reading
//! the sources.

pub mod api;
pub mod cluster;
pub mod consumer;
pub mod event_bus;
pub mod fake;
pub mod handler;
pub mod kubelet;
pub mod letters;
pub mod outbox;
pub mod programs;
pub mod proxy;
pub mod python;
pub mod raw;
pub mod raw_handler;
pub mod redis;
pub mod rules;
pub mod seraaj;
pub mod sources;
pub mod subscriber;
pub mod tls;
pub mod wait;
mod watchdog;
