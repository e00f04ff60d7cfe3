//! Whole answers, as both sides give them.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};

use super::door::{Admitted, Shut};
use super::wire::Refusal;

/// When to come back to whoever cannot answer now, in seconds.
const SOON: HeaderValue = HeaderValue::from_static("1");

/// A sealed answer with a JSON body.
pub fn sealed(
    admitted: &Admitted,
    status: StatusCode,
    message: &impl serde::Serialize,
) -> Response<Bytes> {
    let body = Bytes::from(serde_json::to_vec(message).expect("our messages are JSON"));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(http::header::RETRY_AFTER, SOON);
    }
    let body = response.body().clone();
    admitted.seal(response.headers_mut(), status, &body);
    response
}

/// The answer to a message that was not let in.
pub fn shut(why: &Shut) -> Response<Bytes> {
    match why {
        Shut::Unknown | Shut::Replayed => unsealed(),
        Shut::Stale(admitted) => sealed(admitted, StatusCode::UNAUTHORIZED, &Refusal::Stale),
    }
}

/// A refusal to nobody knows whom.
pub fn unsealed() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}
