//! Whole answers, as both sides give them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::door::{Admitted, Shut, Unproven};
use super::wire::Refusal;
use crate::domain::ids::Incarnation;

/// When to come back to whoever cannot answer now, in seconds.
const SOON: HeaderValue = HeaderValue::from_static("1");

/// A sealed answer with a JSON body.
pub fn sealed(
    admitted: &Admitted,
    status: StatusCode,
    message: &impl serde::Serialize,
) -> Response<Bytes> {
    json(status, message, |headers, body| admitted.seal(headers, status, body))
}

/// The answer to a message that was not let in.
pub fn shut(why: &Shut) -> Response<Bytes> {
    match why {
        Shut::Unknown | Shut::Unproven(_) | Shut::Replayed => unsealed(),
        Shut::Stale(admitted) => sealed(admitted, StatusCode::UNAUTHORIZED, &Refusal::Stale),
    }
}

/// The answer of this start of a worker, which has one key for all its life, to a call that this key does not prove.
pub fn unproven(call: &Unproven, incarnation: Incarnation) -> Response<Bytes> {
    let (status, refusal) =
        (StatusCode::UNAUTHORIZED, Refusal::Unproven { incarnation: incarnation.0 });
    json(status, &refusal, |headers, body| call.seal(headers, status, body))
}

/// A refusal to nobody knows whom.
pub fn unsealed() -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response
}

fn json(
    status: StatusCode,
    message: &impl serde::Serialize,
    seal: impl FnOnce(&mut HeaderMap, &[u8]),
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
    seal(response.headers_mut(), &body);
    response
}
