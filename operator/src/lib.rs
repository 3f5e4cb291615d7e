//! The controller that turns an `EventConsumerGroup` into a Redis consumer group and a consumer Deployment.
//!
//! `validate`, `plan`, `workload`, `state`, `status` and `pacing` decide and are pure; `observe`, `sweeps` and `apply`
//! act; `controller` is the way from one to the next.

pub mod claim;
pub mod conditions;
pub mod crd;
pub mod endpoints;
mod hash;
pub mod observed;
pub mod pacing;
pub mod plan;
pub mod reasons;
pub mod state;
pub mod status;
#[cfg(test)]
mod testing;
pub mod validate;
pub mod wanted;
pub mod workload;
