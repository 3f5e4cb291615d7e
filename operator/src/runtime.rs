//! Running operator: probes, leader election, and the controllers with their watches while this replica leads.

mod controller;
mod run;

pub use run::Operator;
