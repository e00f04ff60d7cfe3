//! What there is on the listener that clients reach, and which handler answers it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, Request, Response};

use super::cors::{Cors, CorsPolicy};
use super::dispatch::Edge;
use super::failure::{TurnedAway, turn_away};
use super::{MCP_PATH, REPLICA_HEADER};

/// The routes that clients see.
pub(super) fn router(edge: Arc<Edge>, policy: &CorsPolicy) -> Router {
    let replica = HeaderValue::from_str(edge.identity.replica())
        .unwrap_or_else(|_| HeaderValue::from_static("unnamed"));
    let cors = Cors::new(&edge.guard, policy).map(Arc::new);
    let routes = Router::new()
        .route(MCP_PATH, axum::routing::post(mcp).fallback(other_method))
        .route("/health", get(health))
        .route("/", get(welcome).fallback(|| async { turn_away(TurnedAway::NotFound) }))
        .fallback(|| async { turn_away(TurnedAway::NotFound) })
        .with_state(edge);
    // Between the two: preflights never come further, and their answers name the replica too.
    let routes = match cors {
        Some(cors) => routes.layer(axum::middleware::from_fn_with_state(cors, Cors::share)),
        None => routes,
    };
    routes.layer(tower::util::MapResponseLayer::new(move |mut response: Response<Body>| {
        response.headers_mut().insert(REPLICA_HEADER, replica.clone());
        response
    }))
}

async fn mcp(State(edge): State<Arc<Edge>>, request: Request<Body>) -> Response<Body> {
    edge.post(request).await
}

/// streamable-http, "Security & Endpoint" 1: an origin is refused whatever its request.
async fn other_method(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Response<Body> {
    turn_away(edge.guard.admit(&headers).err().unwrap_or(TurnedAway::Method))
}

/// For load balancers that have one port.
async fn health(State(edge): State<Arc<Edge>>) -> String {
    format!("{}\n", edge.identity.replica())
}

async fn welcome(State(edge): State<Arc<Edge>>) -> String {
    let replica = edge.identity.replica();
    format!(
        "Baton, an MCP gateway (replica {replica}). The MCP endpoint is {MCP_PATH}: POST to it.\n"
    )
}
