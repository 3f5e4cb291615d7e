//! The scripts that run on the server: one `.lua` and one `.rs` of the same name, which has its arguments and reply.

pub(crate) mod count;
pub(crate) mod create_group;
pub(crate) mod drop_oldest;
pub(crate) mod forget_group;
pub(crate) mod replay;
pub(crate) mod snapshot;
pub(crate) mod trim;
