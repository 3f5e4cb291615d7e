//! The frame of every program of this workspace: flags, logs, signals, exit status, probes and metrics.
//!
//! A program describes its settings in a table, from which [`flags`] makes the command line. [`Program::run`] reads the
//! settings, sets up the logs and turns the outcome into an exit status; [`signals`] says when to stop, [`http`] serves.

pub mod environment;
pub mod flags;
pub mod http;
pub mod logging;
mod run;
pub mod signals;

pub use run::Program;

/// Name of a setting, as an environment variable, and its description for `--help`.
pub type Setting = (&'static str, &'static str);
