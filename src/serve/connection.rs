//! One connection: HTTP/1.1 or HTTP/2 in the clear, the guard, the service behind it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use super::activity::Activity;
use super::body::Tracked;
use super::drain::Drain;
use super::{guard, limits};
use crate::net::Stream;

/// The address at the other end of the connection, as an extension of every request.
/// Behind a proxy it is the proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What every connection of a listener shares.
pub(super) struct Shared<S> {
    pub(super) app: S,
    pub(super) http: auto::Builder<StreamTasks>,
    pub(super) drain: Drain,
    /// Cancelled when idle connections are to close and busy ones to finish.
    pub(super) finish: CancellationToken,
}

/// Serves one connection until it ends; dropping the future cuts it, and drops its handlers.
pub(super) async fn run<S, B>(
    socket: Stream,
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
    let service = service_fn(|request: Request<Incoming>| {
        let exchange = activity.begin(request.version() == Version::HTTP_2);
        let (app, drain) = (shared.app.clone(), shared.drain.clone());
        async move {
            let response = exchange_one(app, request, peer, &drain).await;
            Ok::<_, Infallible>(response.map(|body| Tracked { body, _exchange: exchange }))
        }
    });
    let io = TokioIo::new(Watched { socket, activity: Arc::clone(&activity) });
    let mut connection = pin!(shared.http.serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shared.finish.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
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
    drain: &Drain,
) -> Response<Option<B>>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    let http1 = request.version() < Version::HTTP_2;
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
    // While draining, a client that is told to close comes back through a balancer that knows better places.
    if must_close || (http1 && drain.is_draining()) {
        guard::close(response.headers_mut());
    }
    response
}

/// The protocol's bounds, once for all connections.
pub(super) fn http(tasks: TaskTracker) -> auto::Builder<StreamTasks> {
    let mut http = auto::Builder::new(StreamTasks(tasks));
    // No `header_read_timeout`: see `activity`.
    http.http1().max_headers(limits::MAX_HEADERS).max_buf_size(limits::MAX_HEAD_BYTES);
    http.http2()
        .max_concurrent_streams(limits::H2_STREAMS)
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_header_list_size(limits::H2_HEADER_LIST)
        .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS);
    http
}

/// HTTP/2 runs each stream as a task of its own; the accept loop waits for them.
#[derive(Clone, Debug)]
pub(super) struct StreamTasks(TaskTracker);

impl<F> Executor<F> for StreamTasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// A socket that reports what it hears, and when the other side stops listening.
struct Watched {
    socket: Stream,
    activity: Arc<Activity>,
}

impl Watched {
    fn wrote<T>(&self, outcome: Poll<T>) -> Poll<T> {
        self.activity.write_stalled(outcome.is_pending());
        outcome
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.heard();
        }
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wrote(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
