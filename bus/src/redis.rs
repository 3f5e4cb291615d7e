//! Connections to Redis: opening with detection of dead peers, supervision, permission checks, scripts and replies.

mod connection;
mod greeting;
pub(crate) mod permissions;
pub(crate) mod reply;
pub(crate) mod script;
mod shared;

pub use connection::Connection;
pub(crate) use shared::SharedConnection;
