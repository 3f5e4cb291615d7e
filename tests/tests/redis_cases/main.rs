//! Inputs that broke the bus or others like it, each with what is right for it.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

mod case_01;
mod case_08;
mod case_09;
mod case_13;
mod case_15;
