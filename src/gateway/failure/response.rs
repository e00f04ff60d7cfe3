//! Responses that are no results.

use std::time::Duration;

use axum::body::Body;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use super::{Fault, UpstreamError};
use crate::gateway::identity::Unauthenticated;
use crate::mcp::{Era, ErrorCode, Rejection, RejectionKind, RequestId, render_error};

/// When to look again whether somebody has mended what does not pass by itself.
const MENDED: Duration = Duration::from_mins(1);
/// When one who sent too many wrong credentials may send another.
const GUESS_AGAIN: Duration = Duration::from_secs(1);

/// The response for an upstream's error, before any of a result was sent.
pub(in crate::gateway) fn pass_on(
    error: &UpstreamError,
    era: Era,
    id: &RequestId,
) -> Response<Body> {
    let status = if era.is_modern() { error.status() } else { StatusCode::OK };
    let mut response = json_response(status, error.body(era, id));
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(RETRY_AFTER, seconds(error.retry_after()).into());
    }
    response
}

/// A request that was turned away before it was read as MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::gateway) enum TurnedAway {
    /// No or an unknown credential.
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// Too many wrong credentials from one address.
    #[error("too many requests without a known API key from this address")]
    Guessing,
    /// `Host` names something else (DNS rebinding).
    #[error("this host is not served here: name it with --allowed-host")]
    Host,
    /// `Origin` is not allowed (streamable-http, "Security & Endpoint").
    #[error("this origin is not allowed: name it with --allowed-origin")]
    Origin,
    /// The endpoint takes POST (streamable-http, "Earlier Streamable HTTP Revisions").
    #[error("the MCP endpoint takes POST: there are no sessions and no standing streams here")]
    Method,
    /// As much of requests is held here as may be; nothing of this one was read.
    #[error("no room for the body")]
    NoRoom,
    /// The body is larger than allowed.
    #[error("the body is too large: at most {0} bytes")]
    TooLarge(usize),
    /// The body did not come in time.
    #[error("the body did not arrive in time")]
    Slow,
    /// The body broke off.
    #[error("the body broke off")]
    Broken,
    /// There is nothing at this path.
    #[error("there is nothing here: the MCP endpoint is /mcp")]
    NotFound,
}

/// The response for a request that was turned away.
pub(in crate::gateway) fn turn_away(reason: TurnedAway) -> Response<Body> {
    let status = match reason {
        // Whoever sent a body that nobody read does not know its id here.
        TurnedAway::NoRoom => return faulty(&Fault::overloaded(), Era::Modern, None),
        TurnedAway::Guessing => {
            let fault = Fault::rate_limited(reason.to_string(), GUESS_AGAIN);
            return faulty(&fault, Era::Modern, None);
        }
        TurnedAway::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        TurnedAway::Host | TurnedAway::Origin => StatusCode::FORBIDDEN,
        TurnedAway::Method => StatusCode::METHOD_NOT_ALLOWED,
        TurnedAway::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        TurnedAway::Slow => StatusCode::REQUEST_TIMEOUT,
        TurnedAway::Broken => StatusCode::BAD_REQUEST,
        TurnedAway::NotFound => StatusCode::NOT_FOUND,
    };
    let body = render_error(None, ErrorCode::InvalidRequest, &reason.to_string(), None);
    let mut response = json_response(status, body);
    let headers = response.headers_mut();
    match reason {
        TurnedAway::Unauthenticated(_) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        TurnedAway::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        _ => {}
    }
    response
}

/// The response for a rejected request. Each kind's status stands beside it in `mcp`.
pub(in crate::gateway) fn reject(rejection: &Rejection) -> Response<Body> {
    let status = match rejection.kind() {
        // Old clients die of anything else. Without an id nobody waits for that JSON.
        _ if !rejection.era().is_modern() && rejection.id().is_some() => StatusCode::OK,
        RejectionKind::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        RejectionKind::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        RejectionKind::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        RejectionKind::MethodNotFound => StatusCode::NOT_FOUND,
        RejectionKind::BadHeader
        | RejectionKind::Parse
        | RejectionKind::InvalidRequest
        | RejectionKind::HeaderMismatch
        | RejectionKind::UnsupportedVersion
        | RejectionKind::MissingMeta
        | RejectionKind::InvalidParams
        | RejectionKind::MissingCapability => StatusCode::BAD_REQUEST,
    };
    json_response(status, rejection.body())
}

/// The response for a fault, before any of a result was sent.
pub(in crate::gateway) fn fail(fault: &Fault, era: Era, id: &RequestId) -> Response<Body> {
    faulty(fault, era, Some(id))
}

fn faulty(fault: &Fault, era: Era, id: Option<&RequestId>) -> Response<Body> {
    let status = if era.is_modern() { fault.status() } else { StatusCode::OK };
    let mut response = json_response(status, fault.body(id));
    let unmended = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(MENDED);
    if let Some(wait) = fault.retry_after.or(unmended) {
        response.headers_mut().insert(RETRY_AFTER, seconds(wait).into());
    }
    response
}

/// In whole seconds, as the header has it: not sooner than is meant.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u32::MAX)
}

/// A response with a JSON body.
pub(in crate::gateway) fn json_response(
    status: StatusCode,
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The response to a notification.
pub(in crate::gateway) fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}
