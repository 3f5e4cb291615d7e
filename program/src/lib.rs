//! Shared parts of every program of this workspace: flags, logs, signals, exit status, probes and metrics.
//!
//! A program describes its settings in a table, from which [`flags`] builds the command line. [`Program::run`] reads the
//! settings, sets up the logs and maps the result to an exit status. [`signals`] cancels a token when the program has to
//! stop, and [`http`] serves probes and metrics.

pub mod environment;
pub mod flags;
pub mod http;
pub mod logging;
mod run;
pub mod signals;

pub use run::Program;

/// Name of a setting, as an environment variable, and its description for `--help`.
pub type Setting = (&'static str, &'static str);
