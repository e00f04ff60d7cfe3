//! A real worker, called over its wire.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod keyed;
mod lifecycle;
mod process;
mod restart;
mod site;
mod tasks;
mod trust;
