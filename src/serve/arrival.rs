//! What a connection meets before its first request: a PROXY protocol header where one is due, and its address's share.

use std::net::SocketAddr;

use crate::net::Stream;
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::complaint::Complaint;
use super::listener::ConnectionCounts;
use super::network::Network;
use super::proxy_protocol::{self, Announced, Header, NoHeader};
use super::shares::{Share, Shares};

/// What a listener asks of each connection.
#[derive(Debug)]
pub(super) struct Entrance {
    /// Who passes connections on; none: clients come themselves.
    pub(super) proxies: Option<Vec<Network>>,
    pub(super) shares: Shares,
    pub(super) counts: ConnectionCounts,
    pub(super) complaint: Complaint,
}

/// A connection that may be served.
pub(super) struct Arrived {
    /// Whose it is.
    pub(super) peer: SocketAddr,
    /// What came behind the header.
    pub(super) ahead: Bytes,
    _share: Share,
}

impl Entrance {
    /// Lets a connection in, or not. The accept loop counts the time: until the header is whole nothing was heard.
    pub(super) async fn enter(&self, socket: &mut Stream, peer: SocketAddr) -> Option<Arrived> {
        let (peer, ahead) = match &self.proxies {
            None => (peer, Bytes::new()),
            Some(proxies) => self.announced(socket, peer, proxies).await?,
        };
        let Some(share) = self.shares.take(peer.ip()) else {
            self.counts.add_refused_by_address();
            return None;
        };
        Some(Arrived { peer, ahead, _share: share })
    }

    /// Whose connection it is, if a proxy that we know says so.
    async fn announced(
        &self,
        socket: &mut Stream,
        peer: SocketAddr,
        proxies: &[Network],
    ) -> Option<(SocketAddr, Bytes)> {
        if !proxies.iter().any(|trusted| trusted.contains(peer.ip())) {
            self.refuse(peer, "it comes from no proxy that --trusted-proxy names");
            return None;
        }
        let Ok((header, ahead)) = read(socket).await else {
            self.refuse(
                peer,
                "it does not begin with a PROXY protocol header: set the proxy to send one",
            );
            return None;
        };
        let client = match header.announced {
            Announced::Client(client) => client,
            Announced::Unnamed => peer,
        };
        Some((client, ahead))
    }

    fn refuse(&self, peer: SocketAddr, reason: &str) {
        self.counts.add_refused_unannounced();
        if self.complaint.is_due() {
            tracing::warn!(%peer, "a connection was refused: {reason}");
        }
    }
}

/// Reads a header, and perhaps some of what follows it.
async fn read(socket: &mut Stream) -> Result<(Header, Bytes), NoHeader> {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(header) = proxy_protocol::parse(&bytes)? {
            let ahead = bytes.split_off(header.length).freeze();
            return Ok((header, ahead));
        }
        // Nothing that is longer than a header may be is incomplete.
        match socket.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(NoHeader),
        }
    }
}
