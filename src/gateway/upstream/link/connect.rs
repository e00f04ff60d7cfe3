//! One request to an upstream, and what its failure proves.
//!
//! HTTP/1.1 only, also where TLS could agree on HTTP/2. One connection for all calls would let a client that reads
//! slowly fill the window that every other call shares, and let streams that stay open use up the number that the
//! server allows, so that the next call hangs; and a reset of an HTTP/2 stream proves nothing about what was sent.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};

use super::dial::{DialError, Dialer};
use crate::gateway::upstream::config::Upstream;
use crate::net::pool::{self, Body, Bounds, Pool};

/// How long an unused connection is kept. Common servers close theirs after 5 s: it is better to be the one that
/// closes than to send a call that cannot be repeated into a connection that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// How many unused connections each thread keeps to one endpoint.
const POOL_IDLE_MAX: usize = 256;
/// Longest head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// Most header fields of an answer.
const MAX_HEADERS: usize = 100;

/// Sends requests to one upstream. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct UpstreamClient(Pool<Dialer>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No byte of the request can have arrived.
    #[error("the upstream was not reached")]
    NotSent(#[source] Cause),
    /// It may have arrived.
    #[error("the upstream's answer was lost")]
    Unknown(#[source] Cause),
}

type Cause = Box<dyn Error + Send + Sync>;

impl SendError {
    /// What an operator can do.
    pub fn mend(&self) -> &'static str {
        let (Self::NotSent(cause) | Self::Unknown(cause)) = self;
        if let Some(DialError::Refused(refused)) = find(&**cause) {
            return refused.mend();
        }
        match (self, find::<rustls::Error>(&**cause)) {
            (_, Some(rustls::Error::InvalidCertificate(_))) => {
                "renew its certificate, or give the one of its authority as ca_file"
            }
            (Self::NotSent(_), _) => "start it, or correct its url",
            (Self::Unknown(_), _) => "see its log, or correct its url",
        }
    }
}

/// No head of an answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("it did not begin to answer in time")]
struct Late;

impl UpstreamClient {
    /// A client without connections.
    pub(super) fn new(upstream: &Upstream) -> Self {
        let bounds = Bounds {
            idle: POOL_IDLE,
            idle_most: POOL_IDLE_MAX,
            head: MAX_HEAD,
            headers: MAX_HEADERS,
        };
        Self(Pool::new(Dialer::new(upstream), bounds))
    }

    /// Sends a request, once, to the URL that it names; returns when the head of the answer is there. The body streams;
    /// to drop it, or this future, closes the connection and so tells the upstream. A redirect is an answer like any
    /// other: it is not followed.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Body>, SendError> {
        match timeout_at(deadline, self.0.send(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(pool::SendError::NotSent(cause))) => Err(SendError::NotSent(cause)),
            Ok(Err(pool::SendError::Lost(cause))) => Err(SendError::Unknown(cause)),
            Err(_) => Err(SendError::Unknown(Late.into())),
        }
    }
}

/// The first error of this kind among an error and its causes.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>() {
            // Its source is the source of what it holds: that itself would be passed over.
            Some(error) => error.get_ref().map(|it| it as _),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::StatusCode;
    use http_body_util::BodyExt as _;
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::gateway::upstream::UpstreamName;
    use crate::serve::Network;
    use crate::tls::{Authorities, Trust};

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(10);
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    /// May reach this machine, by loopback.
    fn upstream() -> Upstream {
        let networks = vec![Network::parse("127.0.0.1").unwrap()];
        let named = Upstream::new(UpstreamName::parse("u").unwrap(), Vec::new());
        Upstream { private_networks: networks, ..named }
    }

    async fn post(
        client: &UpstreamClient,
        url: &str,
        within: Duration,
    ) -> Result<StatusCode, SendError> {
        let request = Request::post(url).body(Full::new(Bytes::from_static(b"{}"))).unwrap();
        let (head, body) = client.send(request, Instant::now() + within).await?.into_parts();
        body.collect().await.unwrap();
        Ok(head.status)
    }

    async fn listen(scheme: &str, host: &str) -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, format!("{scheme}://{host}:{port}/mcp"))
    }

    /// Takes one request; its body is `{}`.
    async fn take(stream: &mut (impl AsyncRead + Unpin)) {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n{}") {
            text.push(stream.read_u8().await.unwrap());
        }
    }

    /// Answers one request on one connection.
    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, with: &[u8]) {
        take(&mut stream).await;
        stream.write_all(with).await.unwrap();
        stream.flush().await.unwrap();
        until_closed(stream).await;
    }

    async fn until_closed(mut stream: impl AsyncRead + Unpin) {
        drop(stream.read_to_end(&mut Vec::new()).await);
    }

    fn causes(error: &(dyn std::error::Error + 'static)) -> String {
        let causes = std::iter::successors(Some(error), |error| (**error).source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    fn not_sent(result: Result<StatusCode, SendError>, because: &str) {
        let error = result.unwrap_err();
        let text = format!("{} → {}", causes(&error), error.mend());
        assert!(matches!(error, SendError::NotSent(_)) && text.contains(because), "{text}");
    }

    #[tokio::test]
    async fn what_nobody_took_was_not_sent() {
        let (listener, url) = listen("http", "127.0.0.1").await;
        let client = UpstreamClient::new(&upstream());
        drop(listener);
        not_sent(post(&client, &url, LONG).await, "onnect");
        not_sent(post(&client, "https://127.0.0.2:1/mcp", LONG).await, "not a public address");
        not_sent(
            post(&client, "http://[::1]:1/mcp", LONG).await,
            "private_networks only; use https, or add its network to private_networks → use https",
        );
        not_sent(post(&client, "http://nobody.invalid/mcp", LONG).await, "cannot be resolved");
    }

    #[tokio::test]
    async fn an_address_that_is_not_named_is_never_connected_to() {
        let (listener, url) = listen("https", "localhost").await;
        let closed = Upstream { private_networks: Vec::new(), ..upstream() };
        not_sent(post(&UpstreamClient::new(&closed), &url, LONG).await, "not a public address");
        let accepted = tokio::time::timeout(SHORT, listener.accept()).await;
        assert!(accepted.is_err(), "somebody came");
    }

    #[tokio::test]
    async fn a_request_whose_answer_is_lost_is_not_sent_again() {
        let (listener, url) = listen("http", "127.0.0.1").await;
        let client = UpstreamClient::new(&upstream());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            take(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            // The second comes by the same connection, which would make a resend tempting.
            take(&mut stream).await;
            drop(stream);
            listener
        };
        let asking = async {
            assert_eq!(post(&client, &url, LONG).await.unwrap(), StatusCode::OK);
            post(&client, &url, LONG).await
        };
        let (listener, second) = tokio::join!(server, asking);
        assert!(matches!(second, Err(SendError::Unknown(_))), "{second:?}");
        let again = tokio::time::timeout(SHORT, listener.accept()).await;
        assert!(again.is_err(), "it came again");
    }

    #[tokio::test]
    async fn a_closed_connection_in_the_pool_costs_nothing() {
        let (listener, url) = listen("http", "127.0.0.1").await;
        let client = UpstreamClient::new(&upstream());
        for _ in 0..3 {
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                take(&mut stream).await;
                stream.write_all(OK).await.unwrap();
                stream.shutdown().await.unwrap();
                // The client has seen it when it closes its own side.
                until_closed(stream).await;
            };
            let (answer, ()) = tokio::join!(post(&client, &url, LONG), server);
            assert_eq!(answer.unwrap(), StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn a_silent_upstream_is_not_waited_for_longer_than_the_deadline() {
        let (listener, url) = listen("http", "127.0.0.1").await;
        let client = UpstreamClient::new(&upstream());
        let server = async { until_closed(listener.accept().await.unwrap().0).await };
        let (late, ()) = tokio::join!(post(&client, &url, SHORT), server);
        assert!(matches!(late, Err(SendError::Unknown(_))), "{late:?}");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer() {
        let (listener, url) = listen("http", "127.0.0.1").await;
        let client = UpstreamClient::new(&upstream());
        let redirect = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n"
        );
        let server = async {
            let stream: TcpStream = listener.accept().await.unwrap().0;
            answer(stream, redirect.as_bytes()).await;
        };
        let asking = async {
            let status = post(&client, &url, LONG).await.unwrap();
            drop(client);
            status
        };
        let (status, ()) = tokio::join!(asking, server);
        assert_eq!(status, StatusCode::TEMPORARY_REDIRECT);
    }

    #[tokio::test]
    async fn a_body_streams_and_to_drop_it_closes_the_connection() {
        let (listener, url) = listen("http", "127.0.0.1").await;
        let client = UpstreamClient::new(&upstream());
        let server = async {
            let stream = listener.accept().await.unwrap().0;
            let part = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n";
            answer(stream, part).await;
        };
        let asking = async {
            let request = Request::post(&url).body(Full::new(Bytes::from_static(b"{}"))).unwrap();
            let mut answer = client.send(request, Instant::now() + LONG).await.unwrap();
            let first = answer.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "ok");
        };
        tokio::join!(asking, server);
    }

    /// A server whose certificate is its own authority: its acceptor, and that authority.
    fn self_signed(name: &str) -> (TlsAcceptor, Trust) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let authorities = Authorities::parse(&made.cert.pem()).unwrap();
        (TlsAcceptor::from(Arc::new(config)), Trust::Authorities(authorities))
    }

    #[tokio::test]
    async fn an_upstream_is_believed_if_an_authority_of_its_file_vouches_for_its_name() {
        let (acceptor, trust) = self_signed("localhost");
        let (_, another) = self_signed("localhost");
        let check = async |host: &str, trust: &Trust, believed: bool| {
            let (listener, url) = listen("https", host).await;
            let client = UpstreamClient::new(&Upstream { trust: trust.clone(), ..upstream() });
            let server = async {
                let stream = listener.accept().await.unwrap().0;
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, OK).await;
                }
            };
            let asking = async {
                let answer = post(&client, &url, LONG).await;
                drop(client);
                answer
            };
            let (result, ()) = tokio::join!(asking, server);
            if believed {
                assert_eq!(result.unwrap(), StatusCode::OK);
            } else {
                not_sent(result, "→ renew its certificate, or give");
            }
        };
        check("localhost", &trust, true).await;
        check("localhost", &another, false).await;
        check("localhost", &Trust::Machine, false).await;
        check("127.0.0.1", &trust, false).await;
    }

    #[tokio::test]
    async fn a_handshake_has_the_time_to_a_connection() {
        let (listener, url) = listen("https", "127.0.0.1").await;
        let mut impatient = upstream();
        impatient.timeouts.connect = SHORT;
        let server = async { until_closed(listener.accept().await.unwrap().0).await };
        let client = UpstreamClient::new(&impatient);
        let (result, ()) = tokio::join!(post(&client, &url, LONG), server);
        not_sent(result, "no connection within");
    }
}
