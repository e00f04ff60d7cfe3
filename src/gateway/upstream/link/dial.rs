//! A connection to an upstream: the name is resolved once, the addresses are checked, a checked one is connected to.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::Service;

use super::address::{AddressGuard, Refused, host, port};
use crate::gateway::upstream::config::Upstream;
use crate::tls;

/// How many of a name's addresses are tried; they share the time to a connection.
const MAX_ADDRESSES: usize = 4;
/// How many are looked at, of which some may be refused.
const MAX_ANSWERS: usize = 64;
/// Probes that find out that the other machine is gone while a long call is silent.
const KEEPALIVE: Duration = Duration::from_secs(15);

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Dialing<T> = Pin<Box<dyn Future<Output = Result<T, Cause>> + Send>>;

/// Why there is no connection. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0} cannot be resolved")]
    Lookup(String, #[source] io::Error),
    #[error("{0} has no address")]
    NoAddress(String),
    #[error("{0}; {mend}", mend = .0.mend())]
    Refused(Refused),
    #[error("no connection within {0:?}")]
    Late(Duration),
}

/// Opens connections to one upstream.
#[derive(Clone)]
pub(super) struct Dialer {
    tls: HttpsConnector<Guarded>,
    within: Duration,
}

impl Dialer {
    pub(super) fn new(upstream: &Upstream) -> Self {
        let within = upstream.timeouts.connect;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        let guard = AddressGuard::new(&upstream.private_networks);
        let guarded = Guarded { guard, tcp, within };
        Self { tls: (guarded, tls::client_config(&upstream.trust, None)).into(), within }
    }
}

impl Service<Uri> for Dialer {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Cause;
    type Future = Dialing<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.tls.poll_ready(context)
    }

    /// Name, connection and handshake together have the time to a connection.
    fn call(&mut self, url: Uri) -> Self::Future {
        let (dialing, within) = (self.tls.call(url), self.within);
        Box::pin(
            async move { timeout(within, dialing).await.map_err(|_| DialError::Late(within))? },
        )
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("within", &self.within).finish_non_exhaustive()
    }
}

/// Connects to addresses that the guard has let pass.
#[derive(Clone)]
struct Guarded {
    guard: AddressGuard,
    tcp: HttpConnector,
    within: Duration,
}

impl Guarded {
    async fn connect(mut self, url: Uri) -> Result<TokioIo<TcpStream>, Cause> {
        let addresses = self.addresses(&url).await?;
        let tries = u32::try_from(addresses.len()).expect("there are few");
        self.tcp.set_connect_timeout(Some(self.within / tries));
        let mut last = None;
        for address in addresses {
            // An address for a host: there is nothing left to resolve, so this is the one that was checked.
            let literal = Uri::try_from(format!("http://{address}/"))?;
            match self.tcp.call(literal).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is at least one address, or there was an error").into())
    }

    /// What the name stands for now, as far as it may be connected to; never empty.
    async fn addresses(&self, url: &Uri) -> Result<Vec<SocketAddr>, DialError> {
        let host = host(url);
        let answers = tokio::net::lookup_host((host, port(url))).await;
        let answers = answers.map_err(|error| DialError::Lookup(host.to_owned(), error))?;
        let (mut passed, mut refused) = (Vec::new(), None);
        for address in answers.take(MAX_ANSWERS) {
            match self.guard.check(url.scheme(), address) {
                Ok(()) => passed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        passed.truncate(MAX_ADDRESSES);
        match (passed.is_empty(), refused) {
            (false, _) => Ok(passed),
            (true, Some(error)) => Err(DialError::Refused(error)),
            (true, None) => Err(DialError::NoAddress(host.to_owned())),
        }
    }
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = Cause;
    type Future = Dialing<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        Box::pin(self.clone().connect(url))
    }
}
