//! What one replica is told before it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Buffers, CorsPolicy, Credentials, EnvironmentPolicy, ForwardedHeader, InFlight, Listens,
    Network, Rates, ToolChoice, UpstreamSet,
};
use crate::clock::Clock;
use crate::directory::Directory;
use crate::domain::keyring::{Keyring, SecretKey};
use crate::serve::ConnectionLimits;
use crate::telemetry::{AccessLog, SpanCounts, Tracer};

/// What a gateway is made of.
#[derive(Debug)]
pub struct Config {
    /// Where clients come.
    pub listen: SocketAddr,
    /// Where workers, probes and the metrics' reader come.
    pub internal_listen: SocketAddr,
    /// How workers reach the internal listener; from the listener where not given.
    pub advertise: Option<String>,
    /// This replica's id.
    pub replica: String,
    /// Shared soft state.
    pub directory: Arc<dyn Directory>,
    /// Signs handles.
    pub keys: Keyring,
    /// Roots of the workers' keys, the present one first; not empty.
    pub worker_roots: Vec<SecretKey>,
    /// Who may ask.
    pub credentials: Credentials,
    /// Hosts served beside loopback and the listen address; `*` is any.
    pub allowed_hosts: Vec<String>,
    /// Origins allowed beside the host's own.
    pub allowed_origins: Vec<String>,
    /// What pages of these origins may send and read.
    pub cors: CorsPolicy,
    /// Proxies that are believed who asked them.
    pub trusted_proxies: Vec<Network>,
    /// Where they say it.
    pub forwarded_header: ForwardedHeader,
    /// Whether they say it before the first byte of each connection, and clients come through them alone.
    pub proxy_protocol: bool,
    /// What environments may do.
    pub environments: EnvironmentPolicy,
    /// Which tools there are.
    pub tools: ToolChoice,
    /// Other MCP servers behind this one; the newest value is in force.
    pub upstreams: watch::Receiver<UpstreamSet>,
    /// How often tenants may ask.
    pub rates: Rates,
    /// How much at once.
    pub in_flight: InFlight,
    /// How much of requests is held at once.
    pub buffers: Buffers,
    /// How many clients listen.
    pub listens: Listens,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Threads that connections of clients live on; 0: those of all else.
    pub connection_threads: usize,
    /// Bounds on connections.
    pub connections: ConnectionLimits,
    /// Where the table of workers is kept for a cold start without Redis.
    pub data_dir: Option<PathBuf>,
    /// Starts spans.
    pub tracer: Tracer,
    /// What became of the spans.
    pub span_counts: SpanCounts,
    /// One line for each exchange.
    pub access_log: AccessLog,
    /// The time.
    pub clock: Clock,
}
