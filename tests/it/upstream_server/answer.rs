//! What the scripted upstream says to one request.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Holds an answer back until the test opens it, for good.
#[derive(Clone, Debug, Default)]
pub struct Gate(CancellationToken);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.cancel();
    }

    pub(super) async fn opened(&self) {
        self.0.cancelled().await;
    }
}

/// One answer, built from what it begins with; a stream then takes steps.
#[derive(Debug)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) after: Option<Gate>,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    /// One message as `application/json`.
    Message(Said),
    /// These bytes; of half a body the rest is promised and never comes.
    Bytes { content_type: &'static str, bytes: Vec<u8>, half: bool },
    /// `text/event-stream`.
    Events(Vec<Step>),
    /// No head, ever.
    Never,
    /// The connection closes instead of a head.
    Cut,
}

/// A message that knows nothing of the request's id, or all of it.
#[derive(Debug)]
pub(super) enum Said {
    Result(Value),
    Error(Value),
    Verbatim(Value),
}

type FromReplies = Arc<dyn Fn(&[Value]) -> Value + Send + Sync>;

pub(super) enum Step {
    Say(Said),
    /// A progress notification with the request's token, if it brought one.
    Progress(Value, Value),
    /// A request of ours to the client; the stream goes on when its response was posted.
    Ask(&'static str, Value),
    /// Nothing until the response with this id was posted.
    Await(String),
    /// A result made of the responses so far.
    Answered(FromReplies),
    Raw(String),
    Gate(Gate),
    /// Every notification of the feed, until the client leaves.
    Feed,
    Cut,
}

impl Answer {
    /// A result. Revision 2026-07-28 requires `resultType`, of lists `ttlMs` and `cacheScope` too: they are added where absent.
    pub fn result(result: Value) -> Self {
        Self::of(StatusCode::OK, Body::Message(Said::Result(result)))
    }

    /// A JSON-RPC error with HTTP 200.
    pub fn error(code: i32, message: &str) -> Self {
        Self::error_with(code, message, Value::Null)
    }

    /// A JSON-RPC error with data.
    pub fn error_with(code: i32, message: &str, data: Value) -> Self {
        Self::of(StatusCode::OK, Body::Message(Said::Error(error(code, message, data))))
    }

    /// A body as it stands, so with whatever id, or none.
    pub fn message(message: Value) -> Self {
        Self::of(StatusCode::OK, Body::Message(Said::Verbatim(message)))
    }

    /// Any bytes of any type.
    pub fn bytes(content_type: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(StatusCode::OK, Body::Bytes { content_type, bytes: bytes.into(), half: false })
    }

    /// These bytes, of twice as many that are promised: then the connection closes.
    pub fn half(content_type: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::of(StatusCode::OK, Body::Bytes { content_type, bytes: bytes.into(), half: true })
    }

    /// A stream of events, which ends after the last step.
    pub fn stream() -> Self {
        Self::of(StatusCode::OK, Body::Events(Vec::new()))
    }

    /// Nothing, for as long as the client waits.
    pub fn never() -> Self {
        Self::of(StatusCode::OK, Body::Never)
    }

    /// A closed connection.
    pub fn cut_off() -> Self {
        Self::of(StatusCode::OK, Body::Cut)
    }

    /// The same with another HTTP status.
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with one more header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The same, not even a head before the gate opens.
    pub fn after(mut self, gate: &Gate) -> Self {
        self.after = Some(gate.clone());
        self
    }

    /// Then a message as it stands.
    pub fn then(self, message: Value) -> Self {
        self.step(Step::Say(Said::Verbatim(message)))
    }

    /// Then progress, with the token that the request brought.
    pub fn progress(self, progress: impl Into<Value>, total: impl Into<Value>) -> Self {
        self.step(Step::Progress(progress.into(), total.into()))
    }

    /// Then a log message.
    pub fn log(self, level: &str, data: impl Into<Value>) -> Self {
        let params = json!({"level": level, "data": data.into()});
        self.then(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}))
    }

    /// Then a request to the client (initialize era); what follows waits for its response.
    pub fn ask(self, method: &'static str, params: Value) -> Self {
        self.step(Step::Ask(method, params))
    }

    /// Then a result made of the client's responses, in the order of the questions.
    pub fn answered(self, result: impl Fn(&[Value]) -> Value + Send + Sync + 'static) -> Self {
        self.step(Step::Answered(Arc::new(result)))
    }

    /// Then bytes as they stand: comments, giant events, half events.
    pub fn raw(self, bytes: impl Into<String>) -> Self {
        self.step(Step::Raw(bytes.into()))
    }

    /// Then nothing until the gate opens.
    pub fn gate(self, gate: &Gate) -> Self {
        self.step(Step::Gate(gate.clone()))
    }

    /// Then what the test notifies, until the client leaves.
    pub fn feed(self) -> Self {
        self.step(Step::Feed)
    }

    /// Then the connection breaks.
    pub fn cut(self) -> Self {
        self.step(Step::Cut)
    }

    /// Then the result.
    pub fn finish(self, result: Value) -> Self {
        self.step(Step::Say(Said::Result(result)))
    }

    /// Then a JSON-RPC error.
    pub fn fail(self, code: i32, message: &str) -> Self {
        self.step(Step::Say(Said::Error(error(code, message, Value::Null))))
    }

    fn of(status: StatusCode, body: Body) -> Self {
        Self { status, headers: Vec::new(), after: None, body }
    }

    fn step(mut self, step: Step) -> Self {
        let Body::Events(steps) = &mut self.body else {
            panic!("only Answer::stream() takes steps, not {:?}", self.body)
        };
        steps.push(step);
        self
    }
}

fn error(code: i32, message: &str, data: Value) -> Value {
    let mut error = json!({"code": code, "message": message});
    if !data.is_null() {
        error["data"] = data;
    }
    error
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Step")
    }
}
