//! An event bus on Redis Streams: publish, subscribe, consumer groups and their true lag.
//!
//! Modules that decide are pure: they know no connection, clock, environment or dice. Modules that act build on them.

pub mod backoff;
pub mod config;
pub mod connect;
pub mod count;
pub mod dead_letters;
pub mod delivery;
pub mod duration;
pub mod error;
pub mod event;
mod event_bus;
pub mod group;
pub mod lag;
pub mod metrics;
pub mod monitor;
pub mod names;
pub mod publish;
pub mod retention;
mod script;
pub mod subscribe;
pub mod sweep;

pub use event_bus::EventBus;
