//! HTTP/2 on one connection, in the clear.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::limits;
use super::streams::StreamTasks;
use super::watched::Watched;

/// The protocol's bounds, and when a connection is to end.
#[derive(Debug)]
pub(super) struct Http2 {
    http: Builder<StreamTasks>,
    age: Duration,
    finish: CancellationToken,
}

impl Http2 {
    /// Connections grow as old as this, or until `finish`.
    pub(super) fn new(streams: StreamTasks, age: Duration, finish: CancellationToken) -> Self {
        let mut http = Builder::new(streams);
        http.max_concurrent_streams(limits::H2_STREAMS)
            .initial_stream_window_size(limits::H2_STREAM_WINDOW)
            .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
            .max_header_list_size(limits::H2_HEADER_LIST)
            .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS)
            .max_local_error_reset_streams(limits::H2_LOCAL_RESETS);
        Self { http, age, finish }
    }

    /// Serves until the connection ends.
    pub(super) async fn serve<S, B>(&self, wire: Watched, service: S) -> hyper::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Future: Send + 'static>,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(wire), service));
        let mut old = pin!(sleep(self.age));
        let mut told = false;
        poll_fn(|context| {
            // It says which requests it still takes (RFC 9113 §6.8), so it may be told at any time.
            let is_old = old.is_elapsed() || old.as_mut().poll(context).is_ready();
            if !told && (is_old || self.finish.is_cancelled()) {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(context)
        })
        .await
    }
}
