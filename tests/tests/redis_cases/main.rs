//! Inputs from real life, on real servers and programs: each once broke this bus or another one.

// Clippy takes the whole crate for a test then, in which a helper may unwrap.
#![cfg(test)]

mod case_03;
mod case_16;
mod case_19;
