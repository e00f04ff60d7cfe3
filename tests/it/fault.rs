//! A TCP proxy that stalls, cuts, loses replies, leads elsewhere, and heals.
#![expect(clippy::unwrap_used, reason = "loopback sockets of a test")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What goes wrong on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// No byte passes; connections stay, and new ones are accepted.
    Stall,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Requests pass; of the replies one in so many is dropped and its connection closed.
    LoseReplies { one_in: u32 },
    /// A request with this word is not passed on, and its connection closed.
    CutAt { word: &'static str },
}

/// Stands between a client and a server until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    server: watch::Sender<SocketAddr>,
    fault: watch::Sender<Fault>,
    replies: Arc<Replies>,
    connections: Arc<AtomicU32>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Replies {
    seen: AtomicU32,
    lost: AtomicU32,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (server, servers) = watch::channel(server);
        let (fault, faults) = watch::channel(Fault::None);
        let (replies, connections) = (Arc::<Replies>::default(), Arc::<AtomicU32>::default());
        let mut tasks = JoinSet::new();
        let (lost, made) = (Arc::clone(&replies), Arc::clone(&connections));
        tasks.spawn(accept(listener, servers, faults, lost, made));
        Self { address, server, fault, replies, connections, _tasks: tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where new connections go from now on; those that there are stay where they are.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    pub(crate) fn inject(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub(crate) fn heal(&self) {
        self.inject(Fault::None);
    }

    /// How many replies were lost after the server had done what was asked.
    pub(crate) fn lost_replies(&self) -> u32 {
        self.replies.lost.load(Ordering::Relaxed)
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    servers: watch::Receiver<SocketAddr>,
    faults: watch::Receiver<Fault>,
    replies: Arc<Replies>,
    made: Arc<AtomicU32>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        made.fetch_add(1, Ordering::Relaxed);
        let server = *servers.borrow();
        let (faults, replies) = (faults.clone(), Arc::clone(&replies));
        connections.spawn(async move {
            // A server that is not there: the client sees its connection closed.
            if let Ok(server) = TcpStream::connect(server).await {
                drop(carry(client, server, faults, &replies).await);
            }
        });
    }
}

/// Carries bytes both ways until either side closes or a fault closes both.
async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    mut faults: watch::Receiver<Fault>,
    replies: &Replies,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut request, mut reply) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let fault = *faults.borrow_and_update();
        if fault == Fault::Cut {
            return Ok(());
        }
        let passes = fault != Fault::Stall;
        tokio::select! {
            changed = faults.changed() => if changed.is_err() { return Ok(()) },
            read = client.read(&mut request), if passes => match read? {
                0 => return Ok(()),
                length if fault.cuts(&request[..length]) => return Ok(()),
                length => server.write_all(&request[..length]).await?,
            },
            read = server.read(&mut reply), if passes => {
                let length = read?;
                if length == 0 || replies.loses_next(fault) {
                    return Ok(());
                }
                client.write_all(&reply[..length]).await?;
            }
        }
    }
}

impl Fault {
    fn cuts(self, request: &[u8]) -> bool {
        let Self::CutAt { word } = self else { return false };
        request.windows(word.len()).any(|it| it == word.as_bytes())
    }
}

impl Replies {
    fn loses_next(&self, fault: Fault) -> bool {
        let Fault::LoseReplies { one_in } = fault else { return false };
        let loses = self.seen.fetch_add(1, Ordering::Relaxed) % one_in == one_in - 1;
        self.lost.fetch_add(u32::from(loses), Ordering::Relaxed);
        loses
    }
}
