//! Other MCP servers behind the gateway.

mod config;

pub use config::{EraChoice, NameFilter, Upstream, UpstreamName, UpstreamTimeouts};
