//! Types of the resource `EventConsumerGroup`, its condition types and their reasons.
//!
//! The types define the CRD's names, bounds, defaults and rules: [`definition()`] and [`yaml`] generate
//! the CustomResourceDefinition from them.

pub mod conditions;
mod definition;
mod delivery;
mod handler;
pub mod reasons;
mod resource_id;
mod scalars;
mod spec;
mod status;

pub use definition::{definition, yaml};
pub use delivery::{Backoff, Delivery};
pub use handler::{Format, Handler, Http, Log, ServiceRef};
pub use resource_id::ResourceId;
pub use scalars::{ByteSize, DurationText};
pub use spec::{EventConsumerGroup, EventConsumerGroupSpec, RedisRef, StartAt};
pub use status::{
    ClaimStatus, ConsumerStatus, ConsumersStatus, DeadLetterStatus, Display,
    EventConsumerGroupStatus, GroupOrigin, LagSource, PositionStatus, RedisStatus,
};
