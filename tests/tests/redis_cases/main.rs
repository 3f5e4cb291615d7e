//! Inputs from real life, on real servers and programs: each once broke this bus or another one.

// Clippy takes the whole crate for a test then, in which a helper may unwrap.
#![cfg(test)]

mod case_01;
mod case_02;
mod case_03;
mod case_06;
mod case_07;
mod case_08;
mod case_09;
mod case_12;
mod case_13;
mod case_15;
mod case_16;
mod case_17;
mod case_19;
