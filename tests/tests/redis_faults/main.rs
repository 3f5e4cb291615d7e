//! Faults, each with what the library promises: a publisher and two consumers of one group, while Redis, the network or a
//! person at a terminal does something to them. What was confirmed is handled, and nothing has to be restarted.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

mod fleet;
mod flow;
mod groups;
mod network;
mod people;
mod restarts;
mod server;
mod storms;
mod unreachable;
mod waits;
