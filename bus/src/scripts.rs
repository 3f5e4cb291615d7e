//! Scripts that run on the server.
//!
//! Each is a pair of files of one name: the `.lua`, whose header names keys and arguments in their order, and the `.rs`
//! with the typed arguments, the decoder of the reply and the documentation of both. Helpers that several scripts use
//! are in `common/`; the `.rs` puts them in front of its script.

pub(crate) mod acknowledge;
pub(crate) mod claim;
pub(crate) mod count;
pub(crate) mod create_group;
pub(crate) mod dead_letter;
pub(crate) mod declare_group;
pub(crate) mod delay;
pub(crate) mod drop_oldest;
pub(crate) mod forget_group;
pub(crate) mod heartbeat;
pub(crate) mod leave;
pub(crate) mod next_in_order;
pub(crate) mod replay;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;
pub(crate) mod trim;
