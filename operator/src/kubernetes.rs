//! The API server: calls with a time limit, caches of the watched objects, the queue of resources to reconcile, the
//! election of the replica that writes, and the budget of its writes.

pub(crate) mod cache;
pub(crate) mod calls;
pub(crate) mod election;
mod requeue;
pub(crate) mod write_budget;

pub use requeue::{MaybeInvalid, Requeue};
