//! Observing a stream from outside: snapshots, lag, health. Needs no permission to write.
//!
//! A [`Monitor`] reads a [`Snapshot`] again and again; a [`GroupView`] is one group in it. [`health`] makes a report of it.

pub mod health;
mod lag_reader;
mod monitor;
mod monitor_error;
mod server;
mod snapshot_reader;
mod view;

pub use eventbus_core::facts::{
    ConsumerCounts, ConsumerFacts, ConsumerSource, DeadLetterFacts, GroupFacts, Heartbeat,
    ServerInfo, StreamFacts,
};
pub use eventbus_core::lag::{Lag, LagSource};

pub use crate::scripts::snapshot::{GroupRequest, snapshot};

pub use lag_reader::LagReader;
pub use monitor::Monitor;
pub use monitor_error::MonitorError;
pub use server::server_info;
pub(crate) use snapshot_reader::SnapshotReader;
pub use view::{GroupView, Snapshot};
