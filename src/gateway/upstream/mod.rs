//! Other MCP servers behind the gateway.
//!
//! In reading order: [`config`] (what an operator says of one), [`address`], [`tls`] and [`dial`] (the way to it),
//! [`connect`] (one request and its answer).

mod address;
mod config;
mod connect;
mod dial;
mod tls;

pub use address::{Refused, may_lead_somewhere};
pub use config::{EraChoice, NameFilter, Upstream, UpstreamName, UpstreamTimeouts};
pub use connect::{SendError, UpstreamClient};
pub use tls::{Authorities, NotAuthorities, Trust};
