//! What can go wrong, and how each is said: the only file that knows a status code.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::identity::Unauthenticated;
use crate::domain::task::TaskFailure;
use crate::mcp::{
    Era, ErrorCode, Object, RawError, Rejection, RejectionKind, RequestId, render_error,
    render_raw_error,
};

/// Whether the caller's code ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Executed {
    /// It did not, and will not.
    No,
    /// Nobody here can tell.
    Maybe,
    /// It did.
    Yes,
}

impl Executed {
    /// The word for it in `data.executed`.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Maybe => "maybe",
            Self::Yes => "yes",
        }
    }
}

/// Why a request has no ordinary result; the kind says who acts next.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is wrong: its sender must change it.
    Rejected(Rejection),
    /// The model can put it right: a result with `isError`.
    Tool(ToolError),
    /// Ours, or too much at once: logged here, and the client learns only the code.
    Fault(Fault),
    /// An upstream's own error, which goes to the client as it is.
    Upstream(UpstreamError),
}

/// A JSON-RPC error of an upstream, with the status that it came with.
#[derive(Clone, Debug)]
pub(super) struct UpstreamError {
    status: StatusCode,
    error: RawError,
}

impl UpstreamError {
    /// As it came.
    pub(super) fn new(status: StatusCode, error: RawError) -> Self {
        Self { status, error }
    }

    /// The number a client sees.
    pub(super) fn code(&self) -> i64 {
        self.error.code
    }

    /// What more its sender said of it.
    pub(super) fn data(&self) -> Option<Box<RawValue>> {
        Object::read(&self.error.raw)?.get("data").map(ToOwned::to_owned)
    }

    /// The JSON-RPC error response, in the words of the client's era.
    pub(super) fn body(&self, era: Era, id: &RequestId) -> Vec<u8> {
        let code = match (era, self.error.code) {
            // What only 2026-07-28 means by these, an older client cannot know.
            (Era::Legacy(_), -32022..=-32020) => Some(ErrorCode::InvalidRequest),
            // resources, "Error Handling": before 2026-07-28 a missing resource had a number of its own.
            (Era::Modern, LEGACY_NO_RESOURCE) => Some(ErrorCode::InvalidParams),
            _ => None,
        };
        let Some(code) = code else { return render_raw_error(Some(id), &self.error.raw) };
        let mut error = Object::read(&self.error.raw).unwrap_or_default();
        let code = serde_json::value::to_raw_value(&code.number()).expect("a number serializes");
        error.set("code", code);
        render_raw_error(Some(id), &error.render())
    }

    /// What an upstream said with its status stays what it says, unless that status is about the gateway itself. An
    /// upstream of the legacy era says no more by it than 200.
    pub(super) fn status(&self) -> StatusCode {
        match self.error.code {
            -32601 if self.status == StatusCode::OK => StatusCode::NOT_FOUND,
            _ if self.status.is_client_error() || self.status.is_server_error() => self.status,
            _ => StatusCode::OK,
        }
    }
}

/// 2025-11-25 resources, "Error Handling".
const LEGACY_NO_RESOURCE: i64 = -32002;

/// The response for an upstream's error, before any of a result was sent.
pub(super) fn pass_on(error: &UpstreamError, era: Era, id: &RequestId) -> Response<Body> {
    let status = if era.is_modern() { error.status() } else { StatusCode::OK };
    json_response(status, error.body(era, id))
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What a model did that cannot be done as asked, in words that say what to do instead.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToolError {
    text: Cow<'static, str>,
    code: Option<ErrorCode>,
    executed: Executed,
    retry_after: Option<Duration>,
    detail: Option<(&'static str, Value)>,
}

impl ToolError {
    /// A call that was not begun, for this reason.
    pub(super) fn not_begun(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        Self { text, code: None, executed: Executed::No, retry_after: None, detail: None }
    }

    /// A call that was stopped by its own client, whenever that was.
    pub(super) fn cancelled() -> Self {
        let text = "The task was cancelled: its code was stopped. What it did until then is done.";
        Self { executed: Executed::Maybe, ..Self::not_begun(text) }
    }

    /// With one of our error numbers.
    #[must_use]
    pub(super) fn with_code(mut self, code: ErrorCode) -> Self {
        self.code = Some(code);
        self
    }

    /// Worth trying again after this long.
    #[must_use]
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same as a fault, if it passes by itself.
    pub(super) fn into_fault(self) -> Result<Fault, Self> {
        let Some(wait) = self.retry_after else { return Err(self) };
        let code = self.code.unwrap_or(ErrorCode::Overloaded);
        Ok(Fault { code, message: self.text, executed: self.executed, retry_after: Some(wait) })
    }

    /// With one more member in its data.
    #[must_use]
    pub(super) fn with(mut self, key: &'static str, value: Value) -> Self {
        self.detail = Some((key, value));
        self
    }

    /// What the model reads.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What a program reads, as `structuredContent`.
    pub(super) fn data(&self) -> Value {
        let mut data = json!({
            "executed": self.executed.as_str(),
            "retryable": self.retry_after.is_some(),
        });
        if let Some(code) = self.code {
            data["code"] = code.number().into();
        }
        if let Some(wait) = self.retry_after {
            data["retryAfterMs"] = millis(wait).into();
        }
        if let Some((key, value)) = &self.detail {
            data[*key] = value.clone();
        }
        data
    }
}

/// Something of ours that does not work now, or work that is too much now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    code: ErrorCode,
    message: Cow<'static, str>,
    executed: Executed,
    retry_after: Option<Duration>,
}

/// When to come back where nobody knows better.
const SOON: Duration = Duration::from_secs(1);

impl Fault {
    /// This replica has as much to do as it may.
    pub(super) fn overloaded() -> Self {
        Self::new(ErrorCode::Overloaded, "overloaded: try again shortly", Executed::No)
    }

    /// This was asked too often.
    pub(super) fn rate_limited(message: String, retry_after: Duration) -> Self {
        let retry_after = Some(retry_after.max(Duration::from_millis(1)));
        let code = ErrorCode::RateLimited;
        Self { code, message: message.into(), executed: Executed::No, retry_after }
    }

    /// No worker could be reached for this; nothing was started.
    pub(super) fn worker_unreachable(message: &'static str) -> Self {
        Self::new(ErrorCode::WorkerUnreachable, message, Executed::No)
    }

    /// The directory is away, and this cannot be done without it.
    pub(super) fn directory_away() -> Self {
        let message = "the directory is away, so a quota cannot be checked: try again shortly";
        Self::new(ErrorCode::DirectoryAway, message, Executed::No)
    }

    /// The answer did not come in time; the work may have been done.
    pub(super) fn deadline() -> Self {
        let message = "the worker did not answer in time; the code may have run";
        Self {
            retry_after: None,
            ..Self::new(ErrorCode::DeadlineExceeded, message, Executed::Maybe)
        }
    }

    /// The connection to the worker broke after the call was sent.
    pub(super) fn outcome_unknown() -> Self {
        let message = "the connection to the worker broke: whether the code ran is not known";
        Self { retry_after: None, ..Self::new(ErrorCode::OutcomeUnknown, message, Executed::Maybe) }
    }

    /// A task that has no result.
    pub(super) fn task_failed(reason: TaskFailure) -> Self {
        let (message, executed) = match reason {
            TaskFailure::WorkerRestarted => (
                "the worker restarted while this ran: how far it came is not known; files are kept, variables are gone",
                Executed::Maybe,
            ),
            TaskFailure::SandboxLost => (
                "the sandbox was lost while this ran: how far it came is not known; files are kept, variables are gone",
                Executed::Maybe,
            ),
            TaskFailure::OutcomeLost => {
                ("this ran to its end, but the worker could not keep its outcome", Executed::Yes)
            }
        };
        let code = ErrorCode::OutcomeUnknown;
        Self { code, message: message.into(), executed, retry_after: None }
    }

    /// An upstream does not do what it is there for, in words that say which and how.
    pub(super) fn upstream_unavailable(
        message: String,
        executed: Executed,
        retry_after: Option<Duration>,
    ) -> Self {
        let code = ErrorCode::UpstreamUnavailable;
        Self { code, message: message.into(), executed, retry_after }
    }

    /// An upstream did not answer in time.
    pub(super) fn upstream_deadline(message: String, executed: Executed) -> Self {
        let code = ErrorCode::DeadlineExceeded;
        Self { code, message: message.into(), executed, retry_after: None }
    }

    /// An upstream may have done what was asked, and nobody can tell.
    pub(super) fn upstream_outcome_unknown(message: String) -> Self {
        let (code, executed) = (ErrorCode::OutcomeUnknown, Executed::Maybe);
        Self { code, message: message.into(), executed, retry_after: None }
    }

    /// A bug of ours; what it was is in the log.
    pub(super) fn internal(executed: Executed) -> Self {
        Self {
            retry_after: None,
            ..Self::new(ErrorCode::InternalError, "internal error", executed)
        }
    }

    fn new(code: ErrorCode, message: &'static str, executed: Executed) -> Self {
        Self { code, message: message.into(), executed, retry_after: Some(SOON) }
    }

    /// The number a client sees.
    pub(super) fn code(&self) -> ErrorCode {
        self.code
    }

    fn data(&self) -> Value {
        let mut data = json!({
            "executed": self.executed.as_str(),
            "retryable": self.retry_after.is_some(),
            "overloaded": self.code == ErrorCode::Overloaded,
        });
        if let Some(wait) = self.retry_after {
            data["retryAfterMs"] = millis(wait).into();
        }
        data
    }

    /// What a person reads.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The JSON-RPC error, for a task that ended with it.
    pub(super) fn error(&self) -> Value {
        json!({"code": self.code.number(), "message": self.message, "data": self.data()})
    }

    /// The JSON-RPC error response.
    pub(super) fn body(&self, id: Option<&RequestId>) -> Vec<u8> {
        render_error(id, self.code, &self.message, Some(&self.data()))
    }

    fn status(&self) -> StatusCode {
        match self.code {
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Overloaded
            | ErrorCode::WorkerUnreachable
            | ErrorCode::DirectoryAway
            | ErrorCode::UpstreamUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            // Proxies send a 5xx again, and this may have run.
            ErrorCode::OutcomeUnknown => StatusCode::OK,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A request that was turned away before it was read as MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TurnedAway {
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
pub(super) fn turn_away(reason: TurnedAway) -> Response<Body> {
    let status = match reason {
        TurnedAway::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        TurnedAway::Guessing => StatusCode::TOO_MANY_REQUESTS,
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
        TurnedAway::Guessing => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// The response for a rejected request. Each kind's status stands beside it in `mcp`.
pub(super) fn reject(rejection: &Rejection) -> Response<Body> {
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
pub(super) fn fail(fault: &Fault, era: Era, id: &RequestId) -> Response<Body> {
    let status = if era.is_modern() { fault.status() } else { StatusCode::OK };
    let mut response = json_response(status, fault.body(Some(id)));
    if let Some(wait) = fault.retry_after {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A response with a JSON body.
pub(super) fn json_response(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The response to a notification.
pub(super) fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
}
