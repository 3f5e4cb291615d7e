//! The status: built whole, with its conditions, and written when its time has come, with events for its transitions.

mod build;
mod conditions;
pub(super) mod events;
mod write;
mod write_policy;

pub(super) use build::{build, refused};
pub(super) use write::write;
