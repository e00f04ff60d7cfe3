//! Where connections come from: the machine's network, or one that a simulation makes up.

pub mod pool;

use std::fmt::Debug;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use socket2::{SockFilter, SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tower::{Service, ServiceExt as _};

/// Connections the kernel holds for us while an accept loop is busy.
const BACKLOG: u32 = 1024;

/// How long a client's connection is silent before the kernel asks whether the other machine is there, how long between
/// two questions, and for how long these, or what was sent, are left unanswered: one that vanished holds nothing after
/// that.
const SILENT: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_secs(10);
const UNANSWERED: Duration = Duration::from_mins(1);

/// Classic BPF over a TCP header: drops what opens a connection (SYN, RFC 9293 §3.1), passes all else.
const NO_SYN: [SockFilter; 4] = [
    // Loads the flags; jumps over the next instruction if SYN is among them; passes; drops.
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 1, 0, 0x02),
    SockFilter::new(0x06, 0, 0, u32::MAX),
    SockFilter::new(0x06, 0, 0, 0),
];

/// Listens and connects for everything that does.
#[derive(Clone, Debug, Default)]
pub struct Net(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Simulated(Arc<dyn Network>),
}

/// A network that is not the machine's.
#[async_trait]
pub trait Network: Send + Sync + Debug {
    /// Takes an address at once; port 0 takes a free one.
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Accept>>;

    /// Opens a connection to a host by name or address.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Socket>>;
}

/// A taken address of a [`Network`].
#[async_trait]
pub trait Accept: Send + Sync + Debug {
    /// The address, with its real port.
    fn local_addr(&self) -> SocketAddr;

    /// The next connection and who opened it. Safe to drop while it waits.
    async fn accept(&self) -> io::Result<(Box<dyn Socket>, SocketAddr)>;
}

/// One connection of a [`Network`].
pub trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin + Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + Debug> Socket for T {}

/// A taken address.
#[derive(Debug)]
pub enum Acceptor {
    /// The machine's.
    Tcp(TcpListener, SocketAddr),
    /// Another network's.
    Simulated(Box<dyn Accept>),
}

/// One connection's bytes.
#[derive(Debug)]
pub enum Stream {
    /// The machine's.
    Tcp(TcpStream),
    /// Another network's.
    Simulated(Box<dyn Socket>),
}

/// A connection between two runtimes.
#[derive(Debug)]
pub enum Parked {
    /// The machine's.
    Tcp(std::net::TcpStream),
    /// Another network's.
    Simulated(Box<dyn Socket>),
}

/// Opens connections for an HTTP client.
#[derive(Clone, Debug)]
pub struct Connector(Way);

#[derive(Clone, Debug)]
enum Way {
    Tcp(HttpConnector),
    Simulated { network: Arc<dyn Network>, deadline: Duration },
}

impl Net {
    /// The machine's own network.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A network that a simulation makes up.
    pub fn simulated(network: Arc<dyn Network>) -> Self {
        Self(Source::Simulated(network))
    }

    /// Whether it is the machine's own, whose connections live in whichever runtime they are used in.
    pub fn is_system(&self) -> bool {
        matches!(self.0, Source::System)
    }

    /// Takes an address; port 0 takes a free one. Must run inside a tokio runtime.
    pub fn listen(&self, address: SocketAddr) -> io::Result<Acceptor> {
        match &self.0 {
            Source::System => {
                let socket =
                    if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                // A restart must not wait for the connections of the process before.
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                let socket = socket.listen(BACKLOG)?;
                let keepalive = TcpKeepalive::new().with_time(SILENT).with_interval(ASK_EVERY);
                // What it accepts inherits these.
                SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
                SockRef::from(&socket).set_tcp_user_timeout(Some(UNANSWERED))?;
                let address = socket.local_addr()?;
                Ok(Acceptor::Tcp(socket, address))
            }
            Source::Simulated(network) => Ok(Acceptor::Simulated(network.listen(address)?)),
        }
    }

    /// What opens a client's connections, each within `deadline`; `keepalive` is between two probes that find out
    /// that the other machine is gone.
    pub fn connector(&self, deadline: Duration, keepalive: Duration) -> Connector {
        Connector(match &self.0 {
            Source::System => {
                let mut tcp = HttpConnector::new();
                tcp.set_connect_timeout(Some(deadline));
                tcp.set_nodelay(true);
                tcp.set_keepalive(Some(keepalive));
                Way::Tcp(tcp)
            }
            Source::Simulated(network) => Way::Simulated { network: Arc::clone(network), deadline },
        })
    }
}

impl Acceptor {
    /// The address, with its real port.
    pub fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Tcp(_, address) => *address,
            Self::Simulated(listener) => listener.local_addr(),
        }
    }

    /// Lets no further connection begin; those whose handshake has begun still come to [`accept`](Self::accept).
    /// Whoever tries meets silence, tries again after a second, and is refused when this is dropped.
    pub fn begin_no_more(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener, _) => SockRef::from(listener).attach_filter(&NO_SYN),
            // Its connections begin when they are accepted.
            Self::Simulated(_) => Ok(()),
        }
    }

    /// The next connection and who opened it. Safe to drop while it waits.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener, _) => {
                let (socket, peer) = listener.accept().await?;
                Ok((Stream::Tcp(socket), peer))
            }
            Self::Simulated(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok((Stream::Simulated(socket), peer))
            }
        }
    }
}

impl Parked {
    /// Goes on in the runtime that this is called in.
    pub fn resume(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(socket) => Stream::Tcp(TcpStream::from_std(socket)?),
            Self::Simulated(socket) => Stream::Simulated(socket),
        })
    }
}

impl Stream {
    /// Leaves its runtime for another.
    pub fn park(self) -> io::Result<Parked> {
        Ok(match self {
            Self::Tcp(socket) => Parked::Tcp(socket.into_std()?),
            Self::Simulated(socket) => Parked::Simulated(socket),
        })
    }

    /// Sends small pieces at once.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nodelay(true),
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Whether nothing waits to be read, an end of the stream included. What has arrived just now the runtime may not
    /// know of; the kernel does.
    pub fn is_drained(&self) -> bool {
        match self {
            Self::Tcp(socket) => {
                let peeked = SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]);
                peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            // Its runtime is its kernel.
            Self::Simulated(_) => true,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self.0.clone() {
            Way::Tcp(tcp) => Box::pin(async move {
                let socket = tcp.oneshot(uri).await?.into_inner();
                Ok(TokioIo::new(Stream::Tcp(socket)))
            }),
            Way::Simulated { network, deadline } => Box::pin(async move {
                let host = uri.host().ok_or("the address names no host")?;
                let port = uri.port_u16().unwrap_or(80);
                let socket = timeout(deadline, network.connect(host, port)).await??;
                Ok(TokioIo::new(Stream::Simulated(socket)))
            }),
        }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tcp(socket) => socket.connected(),
            Self::Simulated(_) => Connected::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Simulated(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Simulated(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Simulated(socket) => Pin::new(socket).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.is_write_vectored(),
            Self::Simulated(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(context),
            Self::Simulated(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Simulated(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}
