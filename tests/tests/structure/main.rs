//! How the sources are built: modules without import cycles, the public API, the words of identifiers, how
//! documentation begins, the scripts. Nothing runs; the sources are read.

// Clippy takes the whole file for a test then, in which a helper may unwrap.
#![cfg(test)]

mod cycles;
mod doc_openings;
mod facts;
mod public_api;
mod scripts;
mod words;
