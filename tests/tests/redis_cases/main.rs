//! Inputs from real life, on real parts.

// Clippy takes the whole crate for a test then, in which a helper may unwrap.
#![cfg(test)]

mod case_06;
mod case_12;
