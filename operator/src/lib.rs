//! Controller that reconciles an `EventConsumerGroup` into a Redis consumer group and a consumer Deployment.
//!
//! The folders are layers, and each uses only those after it: [`runtime`] runs the controllers while this replica leads;
//! [`reconcile`] is the pipeline from one resource to its desired state; [`workload`] builds its Deployment; [`redis`]
//! observes the streams and creates groups; [`kubernetes`] has calls, caches and queues for the API server.
//! The resource's types are the package `eventbus-api`.

pub mod error;
mod hash;
pub mod kubernetes;
pub mod metrics;
pub mod reconcile;
pub mod redis;
pub mod runtime;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod workload;
mod yaml;
