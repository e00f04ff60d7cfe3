//! The worker: runs environments and is the only authority over them.

pub mod sandbox;
