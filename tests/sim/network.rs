//! The product's network seam over turmoil's.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use baton::net::{Accept, Net, Network, Socket};
use futures_util::FutureExt as _;
use turmoil::net::{TcpListener, TcpStream};

/// The network of the host that asks.
pub fn net() -> Net {
    Net::simulated(Arc::new(Turmoil))
}

#[derive(Debug)]
struct Turmoil;

struct Listening(TcpListener);

#[async_trait]
impl Network for Turmoil {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Accept>> {
        let bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).now_or_never();
        Ok(Box::new(Listening(bound.expect("nothing to wait for")?)))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Socket>> {
        Ok(Box::new(TcpStream::connect((host, port)).await?))
    }
}

#[async_trait]
impl Accept for Listening {
    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    async fn accept(&self) -> io::Result<(Box<dyn Socket>, SocketAddr)> {
        let (socket, peer) = self.0.accept().await?;
        Ok((Box::new(socket), peer))
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Listening").field(&self.0.local_addr()).finish()
    }
}
