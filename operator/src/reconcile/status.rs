//! Status of a resource: built with its conditions, written at limited intervals, with Events for its transitions.

mod build;
mod conditions;
pub(super) mod events;
mod write;
mod write_policy;

pub(super) use build::{build, refused};
pub(super) use write::write;
