//! Administering groups, dead letters and the length of a stream, each by one command on a [`Connection`].

pub use eventbus_core::declaration::{Declaration, Owner};
pub use eventbus_core::group::{GroupCreation, ResumeSource, Start, StartError};

pub use crate::redis::Connection;
pub use crate::scripts::create_group::{EnsureGroup, EnsuredGroup, create, ensure_group};
pub use crate::scripts::declare_group::Declared;
pub use crate::scripts::drop_oldest::{Dropped, drop_oldest};
pub use crate::scripts::replay::replay;
pub use crate::scripts::trim::{TrimHold, Trimmed, trim};
