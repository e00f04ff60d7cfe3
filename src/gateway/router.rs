//! What there is on the listener that clients reach, and who answers it.
//!
//! Nearly all of it is one route. It comes first, past the boxes and clones of a router that has few others to tell it
//! from.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::{any, get};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tower::{Service, ServiceExt as _};

use super::cors::{Cors, CorsPolicy};
use super::dispatch::Edge;
use super::failure::{TurnedAway, turn_away};
use super::{MCP_PATH, REPLICA_HEADER};
use crate::serve::RequestBody;

/// Everything that clients see.
struct Front {
    edge: Arc<Edge>,
    cors: Option<Cors>,
    replica: HeaderValue,
    others: Router,
}

/// Answers clients.
pub(super) fn service(
    edge: Arc<Edge>,
    policy: &CorsPolicy,
) -> impl Service<Request<RequestBody>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let replica = HeaderValue::from_str(edge.identity.replica())
        .unwrap_or_else(|_| HeaderValue::from_static("unnamed"));
    let (cors, others) = (Cors::new(&edge.guard, policy), others(Arc::clone(&edge)));
    let front = Arc::new(Front { edge, cors, replica, others });
    tower::service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok(front.answer(request).await) }
    })
}

impl Front {
    async fn answer(&self, request: Request<RequestBody>) -> Response<Body> {
        let origin = self.cors.as_ref().map(|cors| cors.origin(request.headers()));
        let preflight = self.cors.as_ref().and_then(|cors| cors.preflight(&request));
        let mut response = match preflight {
            Some(response) => response,
            // Boxed, so that a connection takes room for a request only while there is one.
            None if *request.method() == Method::POST && request.uri().path() == MCP_PATH => {
                Box::pin(self.edge.post(request)).await
            }
            None => {
                let others = self.others.clone().oneshot(request.map(Body::new));
                let Ok(response) = Box::pin(others).await;
                response
            }
        };
        if let (Some(cors), Some(origin)) = (&self.cors, origin) {
            cors.tell(origin, response.headers_mut());
        }
        response.headers_mut().insert(REPLICA_HEADER, self.replica.clone());
        response
    }
}

/// All other routes.
fn others(edge: Arc<Edge>) -> Router {
    Router::new()
        .route(MCP_PATH, any(other_method))
        .route("/health", get(health))
        .route("/", get(welcome).fallback(|| async { turn_away(TurnedAway::NotFound) }))
        .fallback(|| async { turn_away(TurnedAway::NotFound) })
        .with_state(edge)
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
