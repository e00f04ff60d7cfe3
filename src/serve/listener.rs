//! A bound socket and what came through it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::network::Network;
use super::threads::Threads;
use crate::net::{Acceptor, Net, Stream};

/// A bound address whose connections [`serve`](super::serve) takes.
#[derive(Debug)]
pub struct Listener {
    acceptor: Acceptor,
    pub(super) counts: ConnectionCounts,
    /// Proxies that say in PROXY protocol whose connection they pass on; none: clients come themselves.
    pub(super) proxies: Option<Vec<Network>>,
    /// Where its connections live.
    pub(super) threads: Threads,
}

impl Listener {
    /// Binds and listens; port 0 takes a free one. Must run inside a tokio runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_on(&Net::system(), address)
    }

    /// Binds and listens on this network.
    pub fn bind_on(net: &Net, address: SocketAddr) -> io::Result<Self> {
        let (acceptor, counts) = (net.listen(address)?, ConnectionCounts::default());
        Ok(Self { acceptor, counts, proxies: None, threads: Threads::default() })
    }

    /// Connections come from these proxies alone, and begin with a PROXY protocol header.
    #[must_use]
    pub fn behind(self, proxies: Vec<Network>) -> Self {
        Self { proxies: Some(proxies), ..self }
    }

    /// Connections live on these threads.
    #[must_use]
    pub fn on(self, threads: Threads) -> Self {
        Self { threads, ..self }
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.acceptor.local_addr()
    }

    /// The counts of this listener, to be read while it is being served.
    pub fn counts(&self) -> ConnectionCounts {
        self.counts.clone()
    }

    pub(super) fn begin_no_more(&self) -> io::Result<()> {
        self.acceptor.begin_no_more()
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        self.acceptor.accept().await
    }
}

/// What happened to a listener's connections so far.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    refused_in_all: AtomicU64,
    refused_by_address: AtomicU64,
    refused_unannounced: AtomicU64,
    too_slow: AtomicU64,
}

impl ConnectionCounts {
    /// Open now.
    pub fn open(&self) -> u64 {
        self.0.open.load(Relaxed)
    }

    /// Closed at accept because the listener was full.
    pub fn refused_in_all(&self) -> u64 {
        self.0.refused_in_all.load(Relaxed)
    }

    /// Closed at accept because their address had its share.
    pub fn refused_by_address(&self) -> u64 {
        self.0.refused_by_address.load(Relaxed)
    }

    /// Closed because no proxy that we know said whose it is.
    pub fn refused_unannounced(&self) -> u64 {
        self.0.refused_unannounced.load(Relaxed)
    }

    /// Cut at a deadline: a connection, or one stream of it.
    pub fn too_slow(&self) -> u64 {
        self.0.too_slow.load(Relaxed)
    }

    pub(super) fn set_open(&self, open: usize) {
        self.0.open.store(open as u64, Relaxed);
    }

    pub(super) fn add_refused_in_all(&self) {
        self.0.refused_in_all.fetch_add(1, Relaxed);
    }

    pub(super) fn add_refused_by_address(&self) {
        self.0.refused_by_address.fetch_add(1, Relaxed);
    }

    pub(super) fn add_refused_unannounced(&self) {
        self.0.refused_unannounced.fetch_add(1, Relaxed);
    }

    pub(super) fn add_too_slow(&self) {
        self.0.too_slow.fetch_add(1, Relaxed);
    }
}
