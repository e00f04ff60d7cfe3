//! What every request to an upstream carries, and what it means that one has no answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::Full;

use super::config::Upstream;
use super::exchange::{Exchange, Until};
use super::link::{Answer, EndpointId, LinkError, UpstreamLink};
use super::modern::Post;
use super::trouble::Trouble;

/// Sends the gateway's requests to one upstream. Clones share their connections.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    link: Arc<UpstreamLink>,
    /// What its operator said.
    pub config: Arc<Upstream>,
}

impl Wire {
    /// A wire that nothing went over yet.
    pub(super) fn new(config: &Arc<Upstream>) -> Self {
        Self { link: Arc::new(UpstreamLink::new(config)), config: Arc::clone(config) }
    }

    /// Posts to one of the endpoints, to another only while nothing can have arrived. Says which one answered.
    pub(super) async fn post(
        &self,
        post: Post,
        until: Until,
    ) -> Result<(EndpointId, Exchange), Trouble> {
        let request = self.request(Method::POST, post.headers, post.body);
        read(self.link.send(request, until.at()).await, until)
    }

    /// Sends to that endpoint and no other: it holds what the request is about.
    pub(super) async fn send_to(
        &self,
        endpoint: EndpointId,
        method: Method,
        post: Post,
        until: Until,
    ) -> Result<Exchange, Trouble> {
        let request = self.request(method, post.headers, post.body);
        let (_, exchange) = read(self.link.send_to(endpoint, request, until.at()).await, until)?;
        Ok(exchange)
    }

    fn request(&self, method: Method, headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        request.headers_mut().extend(self.config.headers.iter().cloned());
        request
    }
}

fn read(
    answer: Result<Answer, LinkError>,
    until: Until,
) -> Result<(EndpointId, Exchange), Trouble> {
    let (endpoint, response) = answer.map_err(|error| Trouble::of(error, until))?;
    let exchange = Exchange::new(response, until);
    match exchange.status().as_u16() {
        // An answer about the gateway's own credentials is not the client's.
        401 | 403 | 407 => Err(Trouble::NotMcp(exchange.status())),
        _ => Ok((endpoint, exchange)),
    }
}
