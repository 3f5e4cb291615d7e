//! The delivery scripts, each by its own text on a real server: what it answers, and what stands there afterwards.

// Clippy takes the whole crate for a test then, in which a helper may unwrap.
#![cfg(test)]

mod beat;
mod hash;
mod leave;
mod look;
mod next;
mod take;
mod world;
