//! The HTTP of the scripted upstream: one exchange per request, one step at a time.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use super::answer::{Body, Said, Step};
use super::{Answer, Received, Script, Speaks, defaults};

const SESSION: &str = "mcp-session-id";
/// No client takes longer to answer a request of the server's.
const REPLY: Duration = Duration::from_secs(20);

type Out = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

/// Takes connections until it is aborted; they end with it.
pub(super) async fn accept(listener: TcpListener, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        let script = Arc::clone(&script);
        connections.spawn(async move {
            let service = service_fn(|request| exchange(Arc::clone(&script), request));
            // Ends in an error whenever a test cuts, which is what the test wants.
            drop(http1::Builder::new().serve_connection(TokioIo::new(socket), service).await);
        });
    }
}

async fn exchange(script: Arc<Script>, request: Request<Incoming>) -> io::Result<Response<Out>> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let message = serde_json::from_slice(&bytes).unwrap_or_default();
    let request = Received { verb: parts.method, headers: parts.headers, bytes, message };
    script.received.lock().unwrap().push(request.clone());
    let mut left = Left::new(&script, &request);
    let answer = script.answer(&request);
    if let Some(gate) = &answer.after {
        gate.opened().await;
    }
    let mut head = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        head = head.header(*name, value);
    }
    if script.opens_session(&request, answer.status) {
        head = head.header(SESSION, script.new_session());
    }
    let body = match answer.body {
        Body::Never => std::future::pending().await,
        Body::Cut => return Err(io::Error::other("cut off, as scripted")),
        Body::Message(said) => {
            head = head.header(CONTENT_TYPE, "application/json");
            left.answered();
            whole(script.said(&request, said).to_string().into())
        }
        Body::Bytes { content_type, bytes, half } => {
            head = head.header(CONTENT_TYPE, content_type);
            left.answered();
            if half {
                head = head.header(CONTENT_LENGTH, bytes.len() * 2);
                broken(bytes.into())
            } else {
                whole(bytes.into())
            }
        }
        Body::Events(steps) => {
            head = head.header(CONTENT_TYPE, "text/event-stream");
            Play::begin(script, request, steps, left).stream()
        }
    };
    Ok(head.body(StreamBody::new(body)).unwrap())
}

impl Script {
    fn answer(&self, request: &Received) -> Answer {
        if let Some(refusal) = self.refuse(request) {
            return refusal;
        }
        let scripted = |method: &str| self.answers.lock().unwrap().get(method).cloned();
        match request.verb {
            Method::GET if scripted("GET").is_some() => return scripted("GET").unwrap()(request),
            Method::GET if self.speaks == Speaks::Sessions => return Answer::stream().feed(),
            Method::DELETE if self.speaks == Speaks::Sessions => {
                let session = request.header(SESSION).unwrap_or_default();
                self.sessions.lock().unwrap().remove(session);
                return nothing(StatusCode::OK);
            }
            Method::POST => {}
            _ => return nothing(StatusCode::METHOD_NOT_ALLOWED),
        }
        if let Some(answer) = scripted(request.method()) {
            return answer(request);
        }
        if request.id().is_null() {
            return nothing(StatusCode::ACCEPTED);
        }
        if request.method().is_empty() {
            let id = request.id().as_str().unwrap_or_default().to_owned();
            self.replies.send_modify(|all| drop(all.insert(id, request.message.clone())));
            return nothing(StatusCode::ACCEPTED);
        }
        defaults::answer(self.speaks, request).unwrap_or_else(|| {
            let status = match self.speaks {
                Speaks::Modern => StatusCode::NOT_FOUND,
                Speaks::Sessions | Speaks::Sessionless => StatusCode::OK,
            };
            Answer::error(-32601, "Method not found").status(status)
        })
    }

    /// As servers with sessions do: 400 without one, and what the test said with one that is unknown.
    fn refuse(&self, request: &Received) -> Option<Answer> {
        if self.speaks != Speaks::Sessions || request.method() == "initialize" {
            return None;
        }
        let status = match request.header(SESSION) {
            Some(session) if self.sessions.lock().unwrap().contains(session) => return None,
            Some(_) => *self.unknown_session.lock().unwrap(),
            None => StatusCode::BAD_REQUEST,
        };
        let error = json!({"code": -32000, "message": "Bad Request: No valid session ID provided"});
        let message = json!({"jsonrpc": "2.0", "id": null, "error": error});
        Some(Answer::message(message).status(status))
    }

    fn opens_session(&self, request: &Received, status: StatusCode) -> bool {
        self.speaks == Speaks::Sessions && request.method() == "initialize" && status.is_success()
    }

    fn new_session(&self) -> String {
        let session = format!("session-{}", self.next());
        self.sessions.lock().unwrap().insert(session.clone());
        session
    }

    fn next(&self) -> usize {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn said(&self, request: &Received, said: Said) -> Value {
        match said {
            Said::Verbatim(message) => message,
            Said::Error(error) => json!({"jsonrpc": "2.0", "id": request.id(), "error": error}),
            Said::Result(mut result) => {
                if self.speaks == Speaks::Modern {
                    complete(request.method(), &mut result);
                }
                json!({"jsonrpc": "2.0", "id": request.id(), "result": result})
            }
        }
    }
}

/// What revision 2026-07-28 requires of a result, unless the test said it (basic, "Result"; server/utilities/caching).
fn complete(method: &str, result: &mut Value) {
    let mut add = |key: &str, value: Value| {
        if result.get(key).is_none() {
            result[key] = value;
        }
    };
    add("resultType", "complete".into());
    if method.ends_with("/list") || matches!(method, "resources/read" | "server/discover") {
        add("ttlMs", 60_000.into());
        add("cacheScope", "public".into());
    }
}

/// One answer being streamed.
struct Play {
    script: Arc<Script>,
    request: Received,
    steps: VecDeque<Step>,
    replies: Vec<Value>,
    /// Taken from the start, so that nothing notified after the acknowledgement is missed.
    feed: Option<Listening>,
    left: Left,
}

impl Play {
    fn begin(script: Arc<Script>, request: Received, steps: Vec<Step>, left: Left) -> Self {
        let feeds = steps.iter().any(|step| matches!(step, Step::Feed));
        let feed = feeds.then(|| Listening::begin(Arc::clone(&script)));
        Self { script, request, steps: steps.into(), replies: Vec::new(), feed, left }
    }

    fn stream(self) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
        stream::unfold(self, async |mut play| {
            let next = play.next().await;
            if next.is_none() {
                play.left.answered();
            }
            next.map(|chunk| (chunk.map(|text| Frame::data(text.into())), play))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<io::Result<String>> {
        loop {
            if let Some(feed) =
                self.feed.as_mut().filter(|_| matches!(self.steps.front(), Some(Step::Feed)))
            {
                let mut message = feed.notifications.recv().await.ok()?;
                if self.script.speaks == Speaks::Modern && message["params"]["_meta"].is_null() {
                    let tag = json!({"io.modelcontextprotocol/subscriptionId": self.request.id()});
                    message["params"]["_meta"] = tag;
                }
                return Some(Ok(event(&message)));
            }
            let said = match self.steps.pop_front()? {
                Step::Say(said) => said,
                Step::Progress(progress, total) => {
                    let token = self.request.meta("progressToken");
                    if token.is_null() {
                        continue;
                    }
                    let params =
                        json!({"progressToken": token, "progress": progress, "total": total});
                    let method = "notifications/progress";
                    Said::Verbatim(json!({"jsonrpc": "2.0", "method": method, "params": params}))
                }
                Step::Ask(method, params) => {
                    let id = format!("asked-{}", self.script.next());
                    self.steps.push_front(Step::Await(id.clone()));
                    Said::Verbatim(
                        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}),
                    )
                }
                Step::Await(id) => match self.reply(&id).await {
                    Some(reply) => {
                        self.replies.push(reply);
                        continue;
                    }
                    None => return Some(Err(io::Error::other("no response to a request came"))),
                },
                Step::Answered(result) => Said::Result(result(&self.replies)),
                Step::Raw(text) => return Some(Ok(text)),
                Step::Gate(gate) => {
                    gate.opened().await;
                    continue;
                }
                Step::Cut => return Some(cut().await),
                Step::Feed => return None,
            };
            return Some(Ok(event(&self.script.said(&self.request, said))));
        }
    }

    async fn reply(&self, id: &str) -> Option<Value> {
        let mut replies = self.script.replies.subscribe();
        let came = replies.wait_for(|all| all.contains_key(id));
        let replies = tokio::time::timeout(REPLY, came).await.ok()?.ok()?;
        replies.get(id).cloned()
    }
}

/// One open listen or GET stream.
struct Listening {
    notifications: broadcast::Receiver<Value>,
    script: Arc<Script>,
}

impl Listening {
    fn begin(script: Arc<Script>) -> Self {
        script.streams.fetch_add(1, Ordering::Relaxed);
        Self { notifications: script.feed.subscribe(), script }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.script.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts an exchange as abandoned if it is dropped before it was answered.
struct Left {
    script: Arc<Script>,
    method: Option<String>,
}

impl Left {
    fn new(script: &Arc<Script>, request: &Received) -> Self {
        Self { script: Arc::clone(script), method: Some(request.method().to_owned()) }
    }

    fn answered(&mut self) {
        self.method = None;
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(method) = self.method.take() {
            *self.script.abandoned.lock().unwrap().entry(method).or_default() += 1;
        }
    }
}

fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

fn whole(bytes: Bytes) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    Full::new(bytes).into_data_stream().map(|it| Ok(Frame::data(it.unwrap_or_default()))).boxed()
}

fn broken(bytes: Bytes) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    let end = stream::once(async { cut().await.map(|never: Bytes| Frame::data(never)) });
    stream::iter([Ok(Frame::data(bytes))]).chain(end).boxed()
}

/// Breaks the connection, once what was said before is out.
async fn cut<T>() -> io::Result<T> {
    tokio::task::yield_now().await;
    Err(io::Error::other("cut, as scripted"))
}

fn nothing(status: StatusCode) -> Answer {
    Answer::bytes("text/plain", "").status(status)
}
