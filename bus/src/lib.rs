//! An event bus on Redis Streams: publish, subscribe, consumer groups and their true lag.
//!
//! **At least once**: an event that Redis took is handed to every group until one of its handlers is done with it, so a
//! handler may see it twice, above all after a crash. Nothing is acknowledged before it was handled or stored as a dead
//! letter. A repeat has the same [`event_id`](StreamEvent::event_id) as the event before it.
//!
//! A program with nothing left out (`cargo run --example tour`):
//!
//! ```no_run
#![doc = include_str!("../examples/tour.rs")]
//! ```
//!
//! An [`EventBus`] is where to begin: it publishes, subscribes, creates groups and reports on them. Beneath it, with every
//! setting: [`consume`] runs one consumer, [`observe`] takes snapshots of a stream and reports its health, [`admin`] has
//! single operations on groups, dead letters and the stream's length, [`config`] has the settings.
//!
//! What decides is in the crate `eventbus-core`, which cannot do I/O; this crate acts. Its modules build on each other
//! in one direction: `config`, `error`, `metrics`, `redis` (connections), `scripts`, then `publish`, `outbox`,
//! [`consume`], [`observe`], [`admin`], and `client`, the façade.

pub mod admin;
mod client;
pub mod config;
pub mod consume;
mod error;
mod metrics;
pub mod observe;
mod outbox;
mod publish;
mod redis;
mod scripts;

pub use eventbus_core::delivery::{Answer, Delivery};
pub use eventbus_core::event::{
    EventTypeError, EventTypes, NewEvent, Payload, PayloadError, RawEntry, StreamEvent, TypeFilter,
    Unreadable,
};
pub use eventbus_core::group::{Start, StartError};
pub use eventbus_core::names::{ConsumerName, EntryId, GroupName, NameError, StreamKey};

pub use client::{
    CALL_TIMEOUT, ConsumerInfo, EventBus, EventBusBuilder, EventPage, GroupInfo, GroupStatus,
    MAX_PAGE_BYTES, PublishOutcome, StreamInfo, Subscription, SubscriptionBuilder,
};
pub use error::{Error, RedisFailure, Remedy, chain};
pub use metrics::Metrics;
pub use publish::MAX_PAYLOAD;
