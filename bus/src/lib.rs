//! An event bus on Redis Streams: publish, subscribe, consumer groups and their true lag.
//!
//! **At-least-once delivery**: an event that Redis has stored is delivered to every group until one of the group's
//! handlers has finished it. A handler may see an event twice, most likely after a crash. An event is acknowledged only
//! after it was handled or stored as a dead letter. Every delivery of an event has the same
//! [`event_id`](StreamEvent::event_id).
//!
//! A complete program (`cargo run --example tour`):
//!
//! ```no_run
#![doc = include_str!("../examples/tour.rs")]
//! ```
//!
//! Start with [`EventBus`]: it publishes, subscribes, creates groups and reports on them. The modules below it have every
//! setting: [`consume`] runs one consumer, [`observe`] takes snapshots of a stream and reports its health, [`admin`] has
//! single operations on groups, dead letters and the stream's length, [`config`] has the settings.
//!
//! Decisions are made in the crate `eventbus-core`, which does no I/O; this crate does the I/O. Its modules depend on each
//! other in one direction: `config`, `error`, `metrics`, `redis` (connections), `scripts`, then `publish`, `outbox`,
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
    MAX_PAGE_BYTES, PublishOutcome, SetAsideEvent, StreamInfo, Subscription, SubscriptionBuilder,
};
pub use error::{Error, RedisFailure, Remedy, chain};
pub use metrics::Metrics;
pub use publish::MAX_PAYLOAD;
