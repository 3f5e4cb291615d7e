//! The controller that turns an `EventConsumerGroup` into a Redis consumer group and a consumer Deployment.
//!
//! `validate`, `claim`, `plan`, `workload`, `state`, `status` and `pacing` decide and are pure; `observe`, `sweeps` and
//! `apply` act; `controller` is the way from one to the next.

pub mod apply;
mod calls;
pub mod claim;
pub mod context;
pub mod controller;
pub mod elector;
pub mod endpoints;
pub mod error;
mod events;
mod hash;
mod memory;
pub mod metrics;
pub mod observe;
pub mod observed;
pub mod pacing;
pub mod plan;
pub mod pods;
pub mod run;
pub mod settings;
pub mod state;
pub mod status;
pub mod sweeps;
#[cfg(test)]
mod testing;
pub mod validate;
pub mod wake;
pub mod wanted;
pub mod workload;
