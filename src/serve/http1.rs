//! HTTP/1.1 on one connection. Between two requests that are apart in time the connection rests: hyper, with its buffers
//! and its room for a request, goes, and the socket alone stays.

use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::{Builder, Connection, Parts};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;

use super::limits::{MAX_HEAD_BYTES, MAX_HEADERS};
use super::watched::Watched;

/// How long nobody calls before a connection rests.
const AWAKE: Duration = Duration::from_millis(100);

/// The protocol's bounds.
pub(super) fn builder() -> Builder {
    let mut http = Builder::new();
    // No `header_read_timeout`: see `activity`.
    http.max_headers(MAX_HEADERS).max_header_size(MAX_HEAD_BYTES).max_buf_size(MAX_HEAD_BYTES);
    http
}

/// Serves until the connection ends, or returns it to be served again when its client says more.
///
/// hyper is never told to end it: between two requests that could meet one on its way, and it would close where a head has
/// begun to come. The next answer says it.
pub(super) async fn serve<S, B>(
    http: &Builder,
    wire: Watched,
    service: S,
) -> hyper::Result<Option<(Watched, S)>>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    let activity = wire.activity();
    let mut connection = http.serve_connection(TokioIo::new(wire), service);
    let mut rest = pin!(sleep(AWAKE));
    let mut is_awaited = false;
    let served = std::future::poll_fn(|context| {
        loop {
            let silent_before = activity.silent_since();
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(context) {
                return Poll::Ready(Some(ended));
            }
            let Some(silent_since) = activity.silent_since() else { return Poll::Pending };
            // One timer for many requests: it is set anew when it is over, and never while somebody calls.
            if !is_awaited {
                is_awaited = true;
                rest.as_mut().reset(silent_since + AWAKE);
            }
            ready!(rest.as_mut().poll(context));
            is_awaited = false;
            // Polled in this silence, hyper has done what it still had to do for the last request, and has begun no other.
            if silent_before == Some(silent_since) && silent_since.elapsed() >= AWAKE {
                return Poll::Ready(None);
            }
        }
    });
    if let Some(ended) = served.await {
        return ended.map(|()| None);
    }
    let Parts { io, read_buf, service, .. } = Connection::into_parts(connection);
    let mut wire = io.into_inner();
    // The beginning of a head, which came behind the request before.
    wire.put_back(&read_buf);
    Ok(Some((wire, service)))
}
