//! Observing a stream from outside: snapshots, lag, health. Needs no permission to write.

pub mod health;
mod lag_reader;
mod monitor;
mod server;

pub use eventbus_core::facts::{
    ConsumerFacts, DeadLetterFacts, GroupFacts, Heartbeat, ServerInfo, StreamFacts,
};
pub use eventbus_core::lag::{Lag, LagSource};

pub use crate::scripts::snapshot::{GroupRequest, snapshot};

pub use lag_reader::LagReader;
use lag_reader::without_counting;
pub use monitor::{Monitor, Observation};
pub use server::server_info;
pub(crate) use server::server_info_if_allowed;
