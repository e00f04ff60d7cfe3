//! One connection to one address: over TCP or TLS, with our settings, as who we are there.
//!
//! The crate could do this too. But its TLS reads all of the machine's authorities for every connection, also where
//! others are named, fails if one of them is unfit, and takes the process's provider.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_ok;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisResult};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::names::Names;
use super::url::{Address, RedisUrl};
use crate::tls::{ClientIdentity, Trust, client_config};

/// How many operations may wait to be written.
const QUEUE: usize = 1024;
/// How long an idle connection may be silent before the kernel asks whether anybody is there.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long bytes may be unacknowledged before the kernel gives the connection up.
const USER_TIMEOUT: Duration = Duration::from_secs(3);

/// Where Redis is and, where that is said to be over TLS, whom to believe and what to show.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where it is.
    pub url: RedisUrl,
    /// Who may vouch for it.
    pub trust: Trust,
    /// Who we are to a server that wants a certificate.
    pub identity: Option<ClientIdentity>,
}

/// Believes whom the machine believes, and shows nothing.
impl From<RedisUrl> for RedisSettings {
    fn from(url: RedisUrl) -> Self {
        Self { url, trust: Trust::Machine, identity: None }
    }
}

/// Opens connections; its callers bound how long that may take.
pub(super) struct Dialer {
    tls: Option<Arc<ClientConfig>>,
    names: Names,
}

/// A connection for commands. Clones share it, and the last one closes it.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    /// Owns the task that reads and writes.
    _driver: Arc<JoinSet<()>>,
}

type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Dialer {
    pub(super) fn new(settings: &RedisSettings) -> Self {
        let config = || Arc::new(client_config(&settings.trust, settings.identity.as_ref()));
        Self { tls: settings.url.is_encrypted().then(config), names: Names::of_the_machine() }
    }

    /// A connection for commands.
    pub(super) async fn connect(
        &self,
        address: &Address,
        login: &RedisConnectionInfo,
    ) -> RedisResult<Connection> {
        let wire = self.wire(address).await?;
        // Deadlines are ours: the crate's own would hide from the breaker what was late.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let connecting = MultiplexedConnection::new_with_config(login, wire, config);
        let (commands, driver) = connecting.await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Ok(Connection { commands, _driver: Arc::new(tasks) })
    }

    /// A connection on which to hear messages.
    pub(super) async fn listen(
        &self,
        address: &Address,
        login: &RedisConnectionInfo,
    ) -> RedisResult<PubSub> {
        PubSub::new(login, self.wire(address).await?).await
    }

    async fn wire(&self, address: &Address) -> io::Result<Wire> {
        let Some(config) = &self.tls else { return self.tcp(address).await.map(Either::Left) };
        let name = ServerName::try_from(address.host.to_string()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(Arc::clone(config));
        let stream = tls.connect(name, self.tcp(address).await?).await?;
        Ok(Either::Right(Box::new(stream)))
    }

    /// Tries all of a name's addresses at once.
    async fn tcp(&self, address: &Address) -> io::Result<TcpStream> {
        let found = self.names.find(address).await?.into_iter();
        let attempts: Vec<_> = found.map(|it| Box::pin(TcpStream::connect(it))).collect();
        let (stream, _) = select_ok(attempts).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(stream)
    }
}
