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
    /// How long a client may refuse to take the bytes of a response: those of the socket, and those of one HTTP/2 stream.
    pub write_stall: Duration,
    /// After so long a connection is asked to end, between two requests: new replicas get their share of old clients.
    pub age: Duration,
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
            age: Duration::from_hours(1),
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
/// Bytes of control frames since the last request of one HTTP/2 connection: keep-alive for days fits, a flood does not.
/// Between requests so does what a client sent ahead to one that was refused: that is within the windows above.
pub(super) const H2_CONTROL_BYTES: usize = 4 * 1024 * 1024;
/// What of these is forgiven each second: a stream that is listened to for days takes its credit for every event.
pub(super) const H2_CONTROL_BYTES_PER_SECOND: usize = 16 * 1024;
/// Streams a client may make us reset before the connection is given up.
pub(super) const H2_LOCAL_RESETS: usize = 100;
/// Streams a client may reset before we accepted them (rapid reset, CVE-2023-44487).
pub(super) const H2_PENDING_RESETS: usize = 20;
/// What is still read after the last answer of a connection: one that closes with bytes unread is reset, which destroys
/// the answer on its way.
pub(super) const LINGER: Duration = Duration::from_secs(1);
pub(super) const LINGER_BYTES: usize = 8 * 1024 * 1024;
/// Before a listener closes: connections begin no more, and the handshakes of those that began end.
pub(super) const HANDSHAKES: Duration = Duration::from_millis(100);
/// Where connections cannot be kept from beginning, so long may they come one after the other.
pub(super) const LONGEST_CLOSE: Duration = Duration::from_secs(1);
/// After that: how long a connection waits for its first request, for its client may be about to send it.
pub(super) const LAST_FIRST_BYTE: Duration = Duration::from_secs(1);
/// And how long for the next one, if the last answer did not say that it would be the last.
pub(super) const LAST_IDLE: Duration = Duration::from_millis(250);
/// How often a connection is asked whether that is over.
pub(super) const LAST_LOOK: Duration = Duration::from_millis(100);
