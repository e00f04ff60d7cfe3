//! Why a call came to nothing, and what a person at a terminal can do.

use http::StatusCode;
use serde_json::Value;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{url} is no URL → write --url http://HOST:PORT/mcp")]
    Url { url: String },
    #[error(
        "{url} needs TLS, which this command does not speak → call a gateway over http, for example through `kubectl port-forward`"
    )]
    Tls { url: String },
    #[error("nothing answers at {url} ({}) → start one with `baton`, or give --url", root(source.as_ref()))]
    Unreachable { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the connection was cut before the result ({}) → the call may have run: look before you repeat it", root(source.as_ref()))]
    Cut { source: Box<dyn std::error::Error + Send + Sync> },
    #[error("nothing came for a minute, not even a sign of life → `baton doctor` looks why")]
    Silent,
    #[error(
        "the answer is {what} (HTTP {status}) → is --url the endpoint of a gateway? It ends in /mcp"
    )]
    NotMcp { status: StatusCode, what: &'static str },
    #[error("the gateway asks for an API key → give --api-key, or set BATON_API_KEY")]
    NoKey,
    #[error(
        "the gateway does not take this API key, and it is mistyped or cut short → paste it again, whole"
    )]
    DamagedKey,
    #[error("the gateway does not take this API key → ask whoever runs it")]
    WrongKey,
    #[error("refused: {message} ({code}){}", when(data))]
    Refused { code: i64, message: String, data: Value },
}

impl CallError {
    pub(super) fn cut(source: hyper::Error) -> Self {
        Self::Cut { source: Box::new(source) }
    }
}

/// The innermost cause: "client error (Connect)" tells a person nothing.
fn root<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'a) {
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

fn when(data: &Value) -> String {
    match data.get("retryAfterMs").and_then(Value::as_u64) {
        Some(millis) => format!(" → try again in {} s", millis.div_ceil(1000)),
        None => String::new(),
    }
}
