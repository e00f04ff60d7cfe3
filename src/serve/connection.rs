//! One connection: whose it is, HTTP/1.1 or HTTP/2 in the clear, the guard, the service behind it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::activity::Activity;
use super::arrival::Entrance;
use super::drain::Drain;
use super::http2::Http2;
use super::request_body::RequestBody;
use super::tracked::Tracked;
use super::watched::Watched;
use super::{guard, http1, limits};
use crate::net::Parked;

/// The address at the other end of the connection, as an extension of every request.
/// Behind a proxy it is the proxy's, unless that says in PROXY protocol whose connection it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What every connection of a listener shares.
pub(super) struct Shared<S> {
    pub(super) app: S,
    pub(super) http1: hyper::server::conn::http1::Builder,
    pub(super) http2: Http2,
    pub(super) drain: Drain,
    /// Cancelled when silent connections are to close and busy ones to finish.
    pub(super) finish: CancellationToken,
    /// Whose a connection is, and whether its address may have one more.
    pub(super) entrance: Entrance,
    /// How old a connection grows.
    pub(super) age: Duration,
}

/// Serves one connection until it ends; dropping the future cuts it, and drops its handlers.
pub(super) async fn run<S, B>(
    socket: Parked,
    peer: SocketAddr,
    activity: Arc<Activity>,
    shared: Arc<Shared<S>>,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    B: Send + Unpin + 'static,
{
    let Ok(mut socket) = socket.resume() else { return };
    let Some(arrived) = shared.entrance.enter(&mut socket, peer).await else { return };
    let (peer, began) = (arrived.peer, Instant::now());
    let mut service = service_fn(|request: Request<Incoming>| {
        let http2 = request.version() == Version::HTTP_2;
        let exchange = activity.begin(http2);
        let (app, drain) = (shared.app.clone(), shared.drain.clone());
        let age = shared.age;
        async move {
            let request = request.map(|body| RequestBody::new(body, exchange.also()));
            let mut response = exchange_one(app, request, peer).await;
            // A client that is told to close comes back through a balancer that knows better places. HTTP/2 has GOAWAY.
            if !http2 && (drain.is_draining() || began.elapsed() > age) {
                guard::close(response.headers_mut());
            }
            Ok::<_, Infallible>(response.map(|body| {
                if http2 {
                    Tracked::over_http2(body, exchange)
                } else {
                    Tracked::over_http1(body, exchange)
                }
            }))
        }
    });
    let mut wire = Watched::new(socket, arrived.ahead, Arc::clone(&activity));
    let mut end = End { finish: &shared.finish, activity: &activity, has_begun: false };
    // Boxed: while nobody calls, a connection takes no room for a call.
    let ended = match end.heed(wire.is_http2()).await {
        Some(true) => end.heed(Box::pin(shared.http2.serve(wire, service))).await,
        Some(false) => loop {
            match end.heed(Box::pin(http1::serve(&shared.http1, wire, service))).await {
                Ok(Some(resting)) => (wire, service) = resting,
                ended => break ended.map(drop),
            }
            if !end.heed(wire.wait()).await {
                break Ok(());
            }
        },
        None => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection broke");
    }
}

/// The end of the process, to one of its connections.
struct End<'a> {
    finish: &'a CancellationToken,
    activity: &'a Activity,
    has_begun: bool,
}

impl End<'_> {
    /// Polls what reads the socket until it is done. Once the end has begun, also now and then: a socket that is read
    /// again finds out whether its connection is to end.
    async fn heed<T>(&mut self, served: impl Future<Output = T>) -> T {
        let mut served = pin!(served);
        loop {
            tokio::select! {
                done = served.as_mut() => return done,
                () = self.finish.cancelled(), if !self.has_begun => {
                    self.has_begun = true;
                    self.activity.finish();
                }
                () = sleep(limits::LAST_LOOK), if self.has_begun => {}
            }
        }
    }
}

/// One request past the guard; `None` is an empty body.
async fn exchange_one<S, B>(
    app: S,
    mut request: Request<RequestBody>,
    peer: SocketAddr,
) -> Response<Option<B>>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible>,
{
    let must_close = guard::must_close(&request);
    let mut response = match guard::admit(&mut request) {
        Ok(()) => {
            request.extensions_mut().insert(Peer(peer));
            let Ok(response) = app.oneshot(request).await;
            response.map(Some)
        }
        Err(status) => {
            let mut refusal = Response::new(None);
            *refusal.status_mut() = status;
            refusal
        }
    };
    if must_close {
        guard::close(response.headers_mut());
    }
    response
}
