//! Redis: the endpoints that resources may name, and observers that read the streams again and again.

pub mod endpoints;
mod observer;
pub mod observers;
mod progress;
mod shared;
pub mod state;
mod target;

pub use target::{GroupKey, Target, endpoint_of, target_hash};
