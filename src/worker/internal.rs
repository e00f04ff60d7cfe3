//! The internal listener: is it alive, is it ready, how does it do.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;

use super::supervisor::Supervisor;
use crate::serve::{ConnectionCounts, Drain};
use crate::telemetry::{ConnectionReading, Metrics};

/// When to look again whether a worker is there that is about to stop, in seconds.
const NEXT_START: HeaderValue = HeaderValue::from_static("5");

/// `/livez`, `/readyz` and `/metrics`.
#[derive(Debug)]
pub(super) struct Internal {
    metrics: Metrics,
    drain: Drain,
}

impl Internal {
    /// Shows the supervisor's environments, how many it may hold, and the rpc's connections.
    pub(super) fn new(
        metrics: Metrics,
        drain: Drain,
        supervisor: Arc<Supervisor>,
        rpc: ConnectionCounts,
    ) -> Self {
        let state = |name| metrics.environments(name);
        let (ready, running, interrupted) =
            (state("ready"), state("running"), state("interrupted"));
        metrics.capacity("environments").set(supervisor.capacity().into());
        metrics.at_rendering(move || {
            let census = supervisor.census();
            ready.set(census.ready.into());
            running.set(census.running.into());
            interrupted.set(census.interrupted.into());
        });
        metrics.show_connections("worker-rpc", move || ConnectionReading {
            open: rpc.open(),
            refused_in_all: rpc.refused_in_all(),
            refused_by_address: rpc.refused_by_address(),
            too_slow: rpc.too_slow(),
        });
        Self { metrics, drain }
    }

    /// Answers any request to the internal listener.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n".to_owned()),
            "/readyz" if self.drain.is_draining() => {
                let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
                response.headers_mut().insert(header::RETRY_AFTER, NEXT_START);
                response
            }
            "/readyz" => text(StatusCode::OK, "ready\n".to_owned()),
            "/metrics" => {
                let mut response = text(StatusCode::OK, self.metrics.render());
                let kind = HeaderValue::from_static(Metrics::CONTENT_TYPE);
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            _ => text(StatusCode::NOT_FOUND, String::new()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
