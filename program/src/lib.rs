//! Shared parts of the programs of this workspace: flags, logs, signals, exit status, probes, metrics, and the URLs of
//! handlers, which the operator and the consumer both check.
//!
//! A program describes its settings in a table, from which [`flags`] builds the command line. [`Program::run`] reads the
//! settings, sets up the logs and maps the result to an exit status. [`signals`] cancels a token when the program has to
//! stop, and [`http`] serves probes and metrics.

pub mod dial;
pub mod environment;
pub mod flags;
pub mod http;
pub mod logging;
mod run;
pub mod signals;
mod termination;

pub use run::Program;
