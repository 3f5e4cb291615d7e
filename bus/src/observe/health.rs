//! Health of Redis, a stream and its consumer groups, for the health service. What is not known is reported as unknown,
//! and a failure never as an old number.

mod report;
mod reporter;

pub use report::{GroupNumbers, GroupReport, Report, StreamReport};
pub use reporter::{Reporter, Reports, reports};
