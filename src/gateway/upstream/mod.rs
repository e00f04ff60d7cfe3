//! Other MCP servers behind the gateway.
//!
//! In reading order: [`config`] (what an operator says of one), [`address`], [`tls`] and [`dial`] (the way to it),
//! [`connect`] (one request and its answer), [`breaker`] and [`endpoints`] (which of several is asked), [`link`]
//! (all of that for one upstream).

mod address;
mod breaker;
mod config;
mod connect;
mod dial;
mod endpoints;
mod link;
mod tls;

pub use address::{Refused, may_lead_somewhere};
pub use config::{EraChoice, NameFilter, Upstream, UpstreamName, UpstreamTimeouts, Upstreams};
pub use connect::SendError;
pub use endpoints::{AllBroken, EndpointId};
pub use link::{Answer, LinkError, UpstreamLink};
pub use tls::{Authorities, NotAuthorities, Trust};
