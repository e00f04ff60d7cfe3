//! What the system means: no I/O, no async, no clock, no randomness, no framework, no serde.
//!
//! Time and random bytes come in as arguments, so every replica decides alike and a test is one line.

pub mod api_key;
mod derived;
pub mod digest_map;
pub mod environment;
pub mod handle;
pub mod ids;
pub mod keyring;
pub mod placement;
pub mod rate;
pub mod sealed;
pub mod task;
pub mod ticket;
