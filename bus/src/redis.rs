//! Connections to Redis: made so that a dead peer is noticed, supervised, and asked what they may do.

mod connection;
mod greeting;
pub(crate) mod permissions;
pub(crate) mod reply;
pub(crate) mod script;
mod shared;

pub use connection::Connection;
pub(crate) use shared::SharedConnection;
