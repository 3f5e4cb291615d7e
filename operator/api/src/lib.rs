//! Types of the resource `EventConsumerGroup`, its condition types and their reasons.
//!
//! The types are the one source of the CRD's names, bounds, defaults and rules: [`definition()`] and [`yaml`] generate
//! the CustomResourceDefinition from them.

pub mod conditions;
mod definition;
mod delivery;
mod handler;
mod pod;
mod policy;
pub mod reasons;
mod resource_id;
mod scalars;
mod spec;
mod status;

pub use definition::{definition, yaml};
pub use delivery::{Backoff, Delivery, OnUnavailable, Ordering};
pub use handler::{
    Custom, Exec, External, Format, Handler, Header, Http, Log, ScaleTarget, SecretKey, ServiceRef,
    Sidecar,
};
pub use pod::{
    ConfigMapVolume, EmptyDirVolume, KeyToPath, PodTemplate, PullSecret, Resources, SecretVolume,
    Volume,
};
pub use policy::{
    CreationPolicy, DeadLetter, DeletionPolicy, GroupLostPolicy, Lifecycle, Objectives,
    PendingEntries, Reset, Scaling, StreamPolicy,
};
pub use resource_id::ResourceId;
pub use scalars::{DurationText, Quantity};
pub use spec::{EventConsumerGroup, EventConsumerGroupSpec, RedisRef, SecretRef, StartAt};
pub use status::{
    ConsumerStatus, ConsumersStatus, DeadLetterStatus, Display, EventConsumerGroupStatus,
    GroupOrigin, LagSource, LossStatus, PositionStatus, RedisStatus, ResetStatus,
};
