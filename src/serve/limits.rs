//! What one listener grants its connections.

use std::time::Duration;

/// Bounds on the connections of one listener; each is a setting.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Connections at once, over all addresses; one more is closed at accept.
    pub connections: usize,
    /// Connections at once from one address (IPv6: one /64); one more is closed at accept.
    /// Behind a load balancer every client has the balancer's address, so the operator raises it.
    pub connections_per_address: usize,
    /// From accept to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a request head to its last.
    pub head: Duration,
    /// Between two requests. Longer than the load balancer's, so that it is the balancer that closes.
    pub idle: Duration,
    /// How long a client may refuse to take the bytes of a response.
    pub write_stall: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 256,
            first_byte: Duration::from_secs(5),
            head: Duration::from_secs(5),
            idle: Duration::from_secs(620),
            write_stall: Duration::from_mins(1),
        }
    }
}

/// Request headers, whatever the version; more are 431.
pub(super) const MAX_HEADERS: usize = 64;
/// Bytes of an HTTP/1 request head; more are 431.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
pub(super) const H2_STREAMS: u32 = 100;
/// Bytes a client may send ahead on one HTTP/2 stream, and on all streams of a connection.
pub(super) const H2_STREAM_WINDOW: u32 = 64 * 1024;
pub(super) const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an HTTP/2 header list.
pub(super) const H2_HEADER_LIST: u32 = 32 * 1024;
/// Streams a client may reset before we accepted them (rapid reset, CVE-2023-44487).
pub(super) const H2_PENDING_RESETS: usize = 20;
