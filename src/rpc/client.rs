//! The gateway's side of the worker's wire.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt as _;
use serde::Serialize;
use tokio::time::timeout;

use super::auth::Link;
pub use super::error::{Recovery, WorkerError};
use super::frames::{Decoder, FrameError};
use super::http1::{Answer, Call, Http1, Until};
use super::keyed::{EXECUTE_KEYED, KeyedRequest};
pub use super::peer::Peer;
use super::task::{self, CancelTaskRequest, DetachRequest, TaskReply, TaskRequest};
use super::wire::{
    self, CancelRequest, CloseRequest, CreateReply, CreateRequest, Done, ExecuteRequest, FindReply,
    FindRequest, Frame, ListReply, ListRequest,
};
use crate::clock::Clock;
use crate::net::Net;
use crate::net::pool::Body;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// How long a worker may take to take an execution in, or refuse it: it answers before anything runs.
const TAKEN_IN: Duration = Duration::from_secs(10);

/// Calls workers. Clones share their connections.
#[derive(Clone, Debug)]
pub struct WorkerClient(Http1);

/// W3C trace context, passed on as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceHeaders {
    /// The caller's span.
    pub traceparent: Option<String>,
    /// What tracing systems add to it.
    pub tracestate: Option<String>,
    /// What applications add to it.
    pub baggage: Option<String>,
}

impl TraceHeaders {
    /// Those that are there, by name.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
            ("baggage", &self.baggage),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// A call's answer as it comes in.
#[derive(Debug)]
pub struct Execution {
    body: Body,
    decoder: Decoder,
    until: Until,
}

impl WorkerClient {
    /// A client without connections.
    pub fn new(clock: Clock) -> Self {
        Self::on(&Net::system(), clock)
    }

    /// A client without connections on this network.
    pub fn on(net: &Net, clock: Clock) -> Self {
        Self(Http1::new(net, clock))
    }

    /// Gives a new environment to a worker. Safe to repeat.
    pub async fn create(
        &self,
        peer: &Peer,
        request: &CreateRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<CreateReply, WorkerError> {
        self.0.ask(call(peer, wire::CREATE, deadline, trace), request).await
    }

    /// Runs code; returns when the answer begins, which is at once, or the worker has stalled. The deadline is for
    /// the whole of it: the worker stops the execution when it is over.
    pub async fn execute(
        &self,
        peer: &Peer,
        request: &ExecuteRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<Execution, WorkerError> {
        self.begin(call(peer, wire::EXECUTE, deadline, trace), request).await
    }

    /// The same, once for each key: safe to repeat, by whichever gateway. A worker that knows no keys refuses it as
    /// malformed.
    pub async fn execute_keyed(
        &self,
        peer: &Peer,
        request: &KeyedRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<Execution, WorkerError> {
        self.begin(call(peer, EXECUTE_KEYED, deadline, trace), request).await
    }

    async fn begin(
        &self,
        call: Call<'_>,
        request: &impl Serialize,
    ) -> Result<Execution, WorkerError> {
        let begins = self.0.send(call, request);
        let late = |_| WorkerError::Deadline(TAKEN_IN);
        let Answer { sealed, response, until } =
            timeout(TAKEN_IN, begins).await.map_err(late)??;
        let decoder = Decoder::new(sealed.stream());
        Ok(Execution { body: response.into_body(), decoder, until })
    }

    /// Stops an execution. Safe to repeat.
    pub async fn cancel(
        &self,
        peer: &Peer,
        request: &CancelRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<Done, WorkerError> {
        self.0.ask(call(peer, wire::CANCEL, deadline, trace), request).await
    }

    /// Makes a task of an execution. Safe to repeat.
    pub async fn detach(
        &self,
        peer: &Peer,
        request: &DetachRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<TaskReply, WorkerError> {
        self.0.ask(call(peer, task::DETACH, deadline, trace), request).await
    }

    /// Asks how a task is doing. The deadline has to leave room for the request's own wait.
    pub async fn task(
        &self,
        peer: &Peer,
        request: &TaskRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<TaskReply, WorkerError> {
        self.0.ask(call(peer, task::TASK, deadline, trace), request).await
    }

    /// Ends a task. Safe to repeat.
    pub async fn cancel_task(
        &self,
        peer: &Peer,
        request: &CancelTaskRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<TaskReply, WorkerError> {
        self.0.ask(call(peer, task::CANCEL_TASK, deadline, trace), request).await
    }

    /// Ends an environment. Safe to repeat.
    pub async fn close(
        &self,
        peer: &Peer,
        request: &CloseRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<Done, WorkerError> {
        self.0.ask(call(peer, wire::CLOSE, deadline, trace), request).await
    }

    /// Asks whether a worker holds an environment.
    pub async fn find(
        &self,
        peer: &Peer,
        request: &FindRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<FindReply, WorkerError> {
        self.0.ask(call(peer, wire::FIND, deadline, trace), request).await
    }

    /// Asks for an owner's environments.
    pub async fn list(
        &self,
        peer: &Peer,
        request: &ListRequest,
        deadline: Duration,
        trace: &TraceHeaders,
    ) -> Result<ListReply, WorkerError> {
        self.0.ask(call(peer, wire::LIST, deadline, trace), request).await
    }
}

impl Execution {
    /// The next frame. [`Frame::Ended`], [`Frame::NotStarted`] and [`Frame::Replayed`] come only when the MAC has proven them, and
    /// are the last. To drop an execution is no cancel: the worker runs it on for a few seconds.
    pub async fn next(&mut self) -> Result<Frame, WorkerError> {
        loop {
            if let Some(frame) = self.decoder.frame()? {
                return Ok(frame);
            }
            match self.until.bound(self.body.frame()).await? {
                Some(Ok(part)) => {
                    if let Ok(bytes) = part.into_data() {
                        self.decoder.feed(&bytes);
                    }
                }
                Some(Err(error)) => return Err(WorkerError::lost(error)),
                None => return Err(FrameError::Truncated.into()),
            }
        }
    }
}

impl TraceHeaders {
    /// Writes what is there.
    pub fn write(&self, headers: &mut HeaderMap) {
        let fields = [
            (TRACEPARENT, &self.traceparent),
            (TRACESTATE, &self.tracestate),
            (BAGGAGE, &self.baggage),
        ];
        for (name, value) in fields {
            if let Some(Ok(value)) = value.as_deref().map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        }
    }

    /// Reads what is there.
    pub fn read(headers: &HeaderMap) -> Self {
        let field = |name| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        Self {
            traceparent: field(&TRACEPARENT),
            tracestate: field(&TRACESTATE),
            baggage: field(&BAGGAGE),
        }
    }
}

fn call<'a>(
    peer: &'a Peer,
    path: &'static str,
    deadline: Duration,
    trace: &'a TraceHeaders,
) -> Call<'a> {
    Call {
        link: Link::Call,
        url: peer.url(),
        path,
        keys: peer.keys(),
        incarnation: peer.incarnation(),
        deadline,
        trace,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::domain::ids::{Incarnation, WorkerId};
    use crate::domain::keyring::{SecretKey, WorkerKey};

    const SHORT: Duration = Duration::from_millis(300);

    async fn find_at(url: String) -> WorkerError {
        let worker = WorkerId::parse("w1").unwrap();
        let key = WorkerKey::derive(&SecretKey::from_bytes([7; 32]), &worker);
        let peer = Peer::new(url, key, Incarnation(1));
        let request = FindRequest { environment: String::new() };
        let client = WorkerClient::new(Clock::system());
        client.find(&peer, &request, SHORT, &TraceHeaders::default()).await.unwrap_err()
    }

    /// Asks a server that does `this` with its only connection.
    async fn find_where<F: Future<Output = ()>>(this: impl FnOnce(TcpStream) -> F) -> WorkerError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = async { this(listener.accept().await.unwrap().0).await };
        tokio::join!(find_at(url), server).0
    }

    #[tokio::test]
    async fn a_call_that_nobody_listens_to_was_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        for url in [url, "http://".to_owned(), "nonsense".to_owned()] {
            let error = find_at(url).await;
            assert!(matches!(error, WorkerError::NotSent { .. }), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_call_whose_answer_is_lost_may_have_run() {
        let error = find_where(|mut stream| async move {
            stream.read_u8().await.unwrap();
        })
        .await;
        assert!(matches!(error, WorkerError::OutcomeUnknown { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_silent_worker_is_not_waited_for_longer_than_the_deadline() {
        let error = find_where(|mut stream| async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
        })
        .await;
        assert!(matches!(error, WorkerError::Deadline(SHORT)), "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_without_a_mac_counts_for_nothing() {
        let error = find_where(|mut stream| async move {
            let reply = b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"is\":\"not-mine\"}";
            stream.read_u8().await.unwrap();
            stream.write_all(reply).await.unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
        })
        .await;
        assert!(matches!(error, WorkerError::Untrusted { .. }), "{error:?}");
    }
}
