//! Health of Redis, a stream and its consumer groups, as the health service reports it: what is not known is reported
//! as unknown, and no failure as an old number.

mod report;
mod reporter;

pub use report::{GroupNumbers, GroupReport, Report, StreamReport};
pub use reporter::{Reporter, Reports, reports};
