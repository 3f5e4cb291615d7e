//! The delivery scripts, each by its own text on a real server: replies and effects.

// Clippy takes the whole crate for a test then, in which a helper may unwrap.
#![cfg(test)]

mod acknowledge;
mod call;
mod claim;
mod counts;
mod dead_letter;
mod dead_letter_replays;
mod delay;
mod dropped;
mod hash;
mod heartbeat;
mod leave;
mod memory;
mod next_in_order;
mod odd;
mod permissions;
mod replay;
mod takeover;
mod world;
