//! Inputs of real life, each with what is right for it.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

mod case_02;
