//! One connection: whose it is, HTTP/1.1 or HTTP/2 in the clear, the guard, the service behind it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::activity::Activity;
use super::arrival::Entrance;
use super::drain::Drain;
use super::streams::StreamTasks;
use super::tracked::Tracked;
use super::watched::Watched;
use super::{guard, limits};
use crate::net::Parked;

/// The address at the other end of the connection, as an extension of every request.
/// Behind a proxy it is the proxy's, unless that says in PROXY protocol whose connection it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What every connection of a listener shares.
pub(super) struct Shared<S> {
    pub(super) app: S,
    pub(super) http: auto::Builder<StreamTasks>,
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
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    B: Send + Unpin + 'static,
{
    let Ok(mut socket) = socket.resume() else { return };
    let Some(arrived) = shared.entrance.enter(&mut socket, peer).await else { return };
    let (peer, began) = (arrived.peer, Instant::now());
    let service = service_fn(|request: Request<Incoming>| {
        let http2 = request.version() == Version::HTTP_2;
        let exchange = activity.begin(http2);
        let (app, drain) = (shared.app.clone(), shared.drain.clone());
        let age = shared.age;
        async move {
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
    let io = TokioIo::new(Watched::new(socket, arrived.ahead, Arc::clone(&activity)));
    let mut connection = pin!(shared.http.serve_connection(io, service));
    let mut old = pin!(sleep(shared.age));
    let (mut finishing, mut told) = (false, false);
    let ended = loop {
        let to_tell = finishing || old.is_elapsed();
        // In HTTP/1.1 an end between two requests could meet one on its way: there the next answer says it, and hyper
        // would close where a head has begun to come. HTTP/2 says which requests it still takes (RFC 9113 §6.8).
        let served = poll_fn(|context| {
            if to_tell && !told && activity.is_multiplexed() {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(context)
        });
        tokio::select! {
            ended = served => break ended,
            () = shared.finish.cancelled(), if !finishing => {
                finishing = true;
                activity.finish();
            }
            // The socket, when it is read again, finds out whether the connection is to end.
            () = sleep(limits::LAST_LOOK), if finishing => {}
            () = old.as_mut(), if !old.is_elapsed() => {}
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection broke");
    }
}

/// One request past the guard; `None` is an empty body.
async fn exchange_one<S, B>(
    app: S,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Option<B>>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
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

/// The protocol's bounds, once for all connections.
pub(super) fn http(streams: StreamTasks) -> auto::Builder<StreamTasks> {
    let mut http = auto::Builder::new(streams);
    // No `header_read_timeout`: see `activity`.
    http.http1().max_headers(limits::MAX_HEADERS).max_buf_size(limits::MAX_HEAD_BYTES);
    http.http2()
        .max_concurrent_streams(limits::H2_STREAMS)
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_header_list_size(limits::H2_HEADER_LIST)
        .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS)
        .max_local_error_reset_streams(limits::H2_LOCAL_RESETS);
    http
}
