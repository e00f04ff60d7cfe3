//! The internal listener: heartbeats from workers, requests from other replicas, probes, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::dispatch::Edge;
use super::expired::Expired;
use super::fleet::Fleet;
use super::handover;
use crate::rpc::report::{MAX_REPORT, ReportDoor};
use crate::rpc::wire::HEARTBEAT;
use crate::serve::{Drain, read_body};
use crate::telemetry::Metrics;

/// When to look again whether a replica is there that is about to stop, in seconds.
const NEXT_START: HeaderValue = HeaderValue::from_static("5");
/// How long a report may take to arrive.
const REPORT_DEADLINE: Duration = Duration::from_secs(5);

/// What the internal listener answers from.
#[derive(Debug)]
pub(super) struct Internal {
    /// Answers what other replicas hand over.
    pub edge: Arc<Edge>,
    /// The workers.
    pub fleet: Arc<Fleet>,
    /// Tells whose time was over there.
    pub expired: Expired,
    /// Checks their reports.
    pub door: ReportDoor,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Whether this replica is about to stop.
    pub drain: Drain,
}

/// The routes of the internal listener.
pub(super) fn router(internal: Arc<Internal>) -> Router {
    Router::new()
        .route(HEARTBEAT, post(heartbeat))
        .route(handover::PATH, get(who_takes_over).post(take_over))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(internal)
}

async fn heartbeat(State(internal): State<Arc<Internal>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = read_body(body, MAX_REPORT, REPORT_DEADLINE).await else {
        return plain(StatusCode::BAD_REQUEST, "the report did not arrive whole\n");
    };
    let keys = |worker: &_| internal.fleet.keys_of(worker).collect();
    match internal.door.receive(&parts.headers, &body, keys) {
        Ok(received) => {
            let heartbeat = received.heartbeat();
            internal.expired.heard(received.worker(), &heartbeat.expired);
            let heard =
                internal.fleet.heard(received.key().clone(), received.incarnation(), heartbeat);
            received.answer(&heard.await).map(Body::from)
        }
        Err(answer) => answer.map(Body::from),
    }
}

async fn who_takes_over(State(internal): State<Arc<Internal>>) -> String {
    internal.edge.takes_over_as()
}

async fn take_over(State(internal): State<Arc<Internal>>, request: Request) -> Response<Body> {
    internal.edge.take_over(request).await
}

/// Fails while draining; never for Redis, without which most of the work goes on.
async fn ready(State(internal): State<Arc<Internal>>) -> Response<Body> {
    if internal.drain.is_draining() {
        let mut draining = plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        draining.headers_mut().insert(RETRY_AFTER, NEXT_START);
        return draining;
    }
    plain(StatusCode::OK, "ready\n")
}

async fn metrics(State(internal): State<Arc<Internal>>) -> Response<Body> {
    let mut response = Response::new(Body::from(internal.metrics.render()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(Metrics::CONTENT_TYPE));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}
