//! Access to the API server: configuration, client, calls with a time limit, caches of the watched objects, the queue of resources to reconcile,
//! leader election, and the budget of status writes.

pub(crate) mod cache;
pub(crate) mod calls;
pub(crate) mod client;
mod config;
pub(crate) mod election;
mod requeue;
pub(crate) mod write_budget;

pub use config::configuration;
pub use requeue::{MaybeInvalid, Requeue};
