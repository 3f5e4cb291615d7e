//! The delivery scripts, each by its own text on a real server: what it answers, and what stands there afterwards.

// Clippy takes the whole crate for a test then, in which a helper may unwrap.
#![cfg(test)]

mod acknowledge;
mod beat;
mod bury;
mod bury_replays;
mod hash;
mod leave;
mod look;
mod memory;
mod next;
mod odd;
mod park;
mod replay;
mod rights;
mod take;
mod world;
