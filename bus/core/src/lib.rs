//! Decisions of the event bus, as pure functions from values to values.
//!
//! This crate has no I/O, no clock, no random numbers and no runtime; no dependency in its manifest could provide them, so
//! the compiler proves it. Times, random numbers and settings are arguments; the crate `eventbus` carries out the results.
//!
//! | module | subject |
//! |---|---|
//! | [`names`], [`keys`] | names, parsed once at the entry of the program; the keys of the Redis data model |
//! | [`pattern`] | patterns with `*`, for event types and for what endpoints admit |
//! | [`event`] | entries, events, payloads and type filters |
//! | [`delivery`] | state machine of one consumer's deliveries |
//! | [`group`], [`declaration`] | start and resume position of a group; its declaration in Redis |
//! | [`retention`] | settings and admission under a hard cap |
//! | [`facts`], [`lag`] | snapshot of a stream; the lag of a group, computed from it |
//! | [`retry`] | backoff, circuit breaker, log throttle |
//! | [`settings`], [`time`] | look-up of settings; durations as text |

pub mod declaration;
pub mod delivery;
pub mod event;
pub mod facts;
pub mod group;
pub mod keys;
pub mod lag;
pub mod names;
pub mod pattern;
pub mod retention;
pub mod retry;
pub mod settings;
pub mod time;
