//! How Redis, a stream and its consumer groups stand, as the health service tells it: what is not known is told as
//! unknown, and no failure is told as an old number.

mod report;
mod single_flight;

pub use report::{GroupNumbers, GroupReport, Report, StreamReport};
pub use single_flight::{Answering, Looks, looks};
