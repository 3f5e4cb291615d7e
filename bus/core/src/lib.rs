//! Decisions of the event bus, as plain functions from values to values.
//!
//! No I/O, no clock, no random numbers, no runtime: this crate's manifest has no dependency that could act, so the
//! compiler proves it. Times, random numbers and settings come in as arguments; the crate `eventbus` acts on what
//! comes out.
//!
//! [`keys`] is the Redis data model, [`names`] are parsed once where they enter, [`event`] is an entry as an event,
//! [`delivery`] decides about each event of one consumer, [`retention`] about what may be trimmed, [`group`] where a
//! group starts and resumes, [`declaration`] what a program says about a group, [`facts`] hold one snapshot of a
//! stream, [`lag`] is computed from them, [`retry`] says when to try again, [`settings`] and [`time`] are read here.

pub mod declaration;
pub mod delivery;
pub mod event;
pub mod facts;
pub mod group;
pub mod keys;
pub mod lag;
pub mod names;
pub mod retention;
pub mod retry;
pub mod settings;
pub mod time;
