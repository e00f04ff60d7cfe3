//! Baton: a stateless MCP gateway in front of sandboxes that run code for AI agents.
//!
//! The modules are the layers, in reading order. Each may import only what stands above it here:
//!
//! | layer | modules | may import |
//! |---|---|---|
//! | 0 | [`domain`], [`mcp`] | nothing of ours |
//! | 1 | [`directory`], [`rpc`] | `domain` |
//! | 2 | [`gateway`] | `mcp`, `directory`, `rpc`, `domain` |
//! | 2 | [`worker`] | `rpc`, `domain` |
//! | 3 | [`dev`], [`cli`] | all of them |
//!
//! [`clock`], [`net`], [`telemetry`], [`serve`] and [`tls`] stand beside the layers: more than one of them uses each.
//! `tests/it/layering.rs` holds the same table and fails when it is broken.

pub mod cli;
pub mod clock;
pub mod dev;
pub mod directory;
pub mod domain;
pub mod gateway;
pub mod mcp;
pub mod net;
pub mod rpc;
pub mod serve;
pub mod telemetry;
pub mod tls;
pub mod worker;
