//! The way to one upstream: an endpoint that is well, a request to it, and what that tells of the endpoint.
//!
//! An upstream has [`endpoints`] with a [`breaker`] each. One is reached by [`connect`], which [`dial`]s only where an
//! [`address`] may lead.

mod address;
mod breaker;
mod connect;
mod dial;
mod endpoints;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::Instant;

pub use address::{Refused, may_lead_somewhere};
pub use connect::SendError;
pub use endpoints::{AllBroken, EndpointId};

use crate::gateway::upstream::config::Upstream;
use crate::net::pool::Body;
use breaker::Outcome;
use connect::UpstreamClient;
use endpoints::{Endpoint, Endpoints};

/// Sends requests to one upstream, by whichever of its endpoints is well.
#[derive(Debug)]
pub struct UpstreamLink {
    client: UpstreamClient,
    endpoints: Endpoints,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing was sent: the breaker of every endpoint is open.
    #[error(transparent)]
    Broken(#[from] AllBroken),
    /// An endpoint was asked.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The head of an answer, and whose it is.
pub type Answer = (EndpointId, Response<Body>);

impl UpstreamLink {
    /// A link without connections.
    pub fn new(upstream: &Upstream) -> Self {
        let endpoints = Endpoints::new(upstream.endpoints.clone());
        Self { client: UpstreamClient::new(upstream), endpoints }
    }

    /// Sends a request to the endpoint whose turn it is. If it is proven that this one got nothing of it, another
    /// gets it: two tries, and no request arrives twice. Its URL is replaced by the endpoint's.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Answer, LinkError> {
        let first = self.endpoints.pick(Instant::now())?;
        let id = first.id();
        let spare = self.endpoints.are_several().then(|| request.clone());
        match (self.ask(first, request, deadline).await, spare) {
            (Err(SendError::NotSent(cause)), Some(request)) => {
                match self.endpoints.pick_beside(id, Instant::now()) {
                    // Boxed: it is seldom, and every call would carry room for it.
                    Ok(second) => Ok(Box::pin(self.ask(second, request, deadline)).await?),
                    Err(_) => Err(SendError::NotSent(cause).into()),
                }
            }
            (answer, _) => Ok(answer?),
        }
    }

    /// Sends a request to that endpoint and no other.
    pub async fn send_to(
        &self,
        id: EndpointId,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Answer, LinkError> {
        let endpoint = self.endpoints.pick_this(id, Instant::now())?;
        Ok(self.ask(endpoint, request, deadline).await?)
    }

    /// How many of its endpoints are asked as usual.
    pub fn well(&self) -> usize {
        self.endpoints.well()
    }

    async fn ask(
        &self,
        endpoint: Endpoint,
        mut request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Answer, SendError> {
        let id = endpoint.id();
        endpoint.url().clone_into(request.uri_mut());
        let answer = self.client.send(request, deadline).await;
        let outcome = if answer.is_ok() { Outcome::Answered } else { Outcome::Failed };
        self.endpoints.report(endpoint, outcome, Instant::now());
        Ok((id, answer?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Uri;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::gateway::upstream::UpstreamName;
    use crate::serve::Network;

    const LONG: Duration = Duration::from_secs(10);

    async fn listener() -> (TcpListener, Uri) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        (listener, url.parse().unwrap())
    }

    fn link(endpoints: Vec<Uri>) -> UpstreamLink {
        let networks = vec![Network::parse("127.0.0.1").unwrap()];
        let named = Upstream::new(UpstreamName::parse("u").unwrap(), endpoints);
        UpstreamLink::new(&Upstream { private_networks: networks, ..named })
    }

    async fn post(link: &UpstreamLink) -> Result<Answer, LinkError> {
        let request = Request::post("/").body(Full::default()).unwrap();
        link.send(request, Instant::now() + LONG).await
    }

    /// Takes one connection and closes it after the head of a request, with or without an answer.
    async fn serve(listener: &TcpListener, answer: &[u8]) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer).await.unwrap();
    }

    #[tokio::test]
    async fn what_one_endpoint_did_not_get_another_gets() {
        let (dead, first) = listener().await;
        let (alive, second) = listener().await;
        drop(dead);
        let link = link(vec![first, second]);
        let server = serve(&alive, b"HTTP/1.1 204 No Content\r\n\r\n");
        let (answer, ()) = tokio::join!(post(&link), server);
        let (id, response) = answer.unwrap();
        assert_eq!(response.status(), 204);
        let again = Request::post("/").body(Full::default()).unwrap();
        let server = serve(&alive, b"HTTP/1.1 204 No Content\r\n\r\n");
        let (answer, ()) = tokio::join!(link.send_to(id, again, Instant::now() + LONG), server);
        assert_eq!(answer.unwrap().0, id);
    }

    #[tokio::test]
    async fn what_one_endpoint_may_have_got_no_other_gets() {
        let (one, first) = listener().await;
        let (another, second) = listener().await;
        let link = link(vec![first, second]);
        let (answer, ()) = tokio::join!(post(&link), serve(&one, b""));
        assert!(matches!(answer, Err(LinkError::Send(SendError::Unknown(_)))), "{answer:?}");
        let came = tokio::time::timeout(Duration::from_millis(200), another.accept()).await;
        assert!(came.is_err());
    }

    #[tokio::test]
    async fn an_upstream_that_is_down_is_soon_not_asked_any_more() {
        let (dead, url) = listener().await;
        drop(dead);
        let link = link(vec![url]);
        let mut tries = 0;
        let retry_after = loop {
            match post(&link).await.unwrap_err() {
                LinkError::Broken(AllBroken { retry_after }) => break retry_after,
                LinkError::Send(error) => assert!(matches!(error, SendError::NotSent(_))),
            }
            tries += 1;
        };
        assert!(tries <= 5 && !retry_after.is_zero() && link.well() == 0, "{tries}");
    }
}
