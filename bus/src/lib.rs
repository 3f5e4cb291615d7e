//! An event bus on Redis Streams: publish, subscribe, consumer groups and their true lag.
//!
//! **At least once**: an event that Redis took is handed to every group until one of its handlers is done with it, so a
//! handler may see it twice, above all after a crash. Nothing is acknowledged before it was handled or stored as a dead
//! letter. What tells a repeat from a new event is [`event_id`](event::StreamEvent::event_id).
//!
//! A program with nothing left out (`cargo run --example tour`):
//!
//! ```no_run
#![doc = include_str!("../examples/tour.rs")]
//! ```
//!
//! An [`EventBus`] is where to begin. Beneath it, with every setting: [`subscribe`] runs one consumer by the decisions
//! of [`delivery`], [`monitor`] looks at a stream again and again, [`health`] tells what it saw, [`sweep`], [`count`]
//! and [`lag`] tell how far each group is, [`group`] and [`declaration`] say which groups there are to be. [`event`] is
//! what stands on the wire with the types that are known, [`names`] are parsed once where they enter, [`config`] are
//! the settings, [`error`] says what helps, [`metrics`] count.
//!
//! Modules that decide are pure: they know no connection, clock, environment or dice. Modules that act build on them.

pub mod backoff;
pub mod breaker;
pub mod config;
pub mod connect;
pub mod count;
pub mod dead_letters;
pub mod declaration;
pub mod delivery;
pub mod duration;
pub mod error;
pub mod event;
mod event_bus;
pub mod group;
pub mod health;
pub mod lag;
pub mod metrics;
pub mod monitor;
pub mod names;
mod outage;
pub mod outbox;
pub mod publish;
mod reply;
pub mod retention;
mod rights;
mod script;
pub mod subscribe;
pub mod sweep;

pub use event_bus::{
    CALL_TIMEOUT, ConsumerInfo, EventBus, EventPage, GroupInfo, GroupStatus, MOST_BYTES,
    MOST_EVENTS, MOST_LOOKED_AT, StreamInfo, Subscription,
};
