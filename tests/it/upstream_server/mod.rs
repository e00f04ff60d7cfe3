//! An MCP server whose answers a test scripts, and which keeps what reached it.
//!
//! It serves one era, answers every method of it with something plain, and takes a script for any of them:
//!
//! ```ignore
//! let upstream = UpstreamServer::modern().await;
//! upstream.on("tools/call", |_| Answer::stream().progress(1, 2).gate(&gate).finish(json!({"content": []})));
//! let [call] = upstream.wait_for("tools/call", 1).await.try_into().unwrap();
//! assert_eq!(call.header("x-ms-apikey"), None);
//! ```
//!
//! A server that accepts and says nothing, or loses what it said: `fault::Proxy` in front of it.

#![expect(clippy::unwrap_used, reason = "a test whose upstream does not start has failed")]

mod answer;
mod defaults;
mod serve;
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

pub use answer::{Answer, Gate};
pub use defaults::{prompt, resource, tool};

use crate::cluster::{ANYWHERE, eventually};

/// Notifications that a stream may be behind.
const FEED: usize = 256;

/// Serves until it is dropped.
#[derive(Debug)]
pub struct UpstreamServer {
    address: SocketAddr,
    script: Arc<Script>,
    serving: Mutex<JoinSet<()>>,
}

/// Which protocol it speaks; the other one is refused as servers in the field refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// 2026-07-28: `initialize` is 404 -32601.
    Modern,
    /// 2025-11-25 with an `Mcp-Session-Id`: without one all but `initialize` is 400 -32000, `server/discover` too.
    Sessions,
    /// 2025-11-25 without sessions: `server/discover` is 200 -32601.
    Sessionless,
}

/// One HTTP request, as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub verb: Method,
    pub headers: HeaderMap,
    pub bytes: Bytes,
    /// The body as JSON; null where it is none.
    pub message: Value,
}

type Scripted = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

/// What the server says and what it heard.
struct Script {
    speaks: Speaks,
    answers: Mutex<HashMap<String, Scripted>>,
    received: Mutex<Vec<Received>>,
    sessions: Mutex<HashSet<String>>,
    /// How a request with an unknown session is refused.
    unknown_session: Mutex<StatusCode>,
    /// What goes to every open listen stream, or GET stream.
    feed: broadcast::Sender<Value>,
    streams: AtomicUsize,
    /// Exchanges that the client left before their end, by method.
    abandoned: Mutex<HashMap<String, usize>>,
    /// The client's answers to our requests, by the id we gave.
    replies: watch::Sender<HashMap<String, Value>>,
    counter: AtomicUsize,
}

impl UpstreamServer {
    /// One that speaks 2026-07-28 only.
    pub async fn modern() -> Self {
        Self::start(Speaks::Modern).await
    }

    /// One that speaks 2025-11-25 only, with sessions.
    pub async fn legacy() -> Self {
        Self::start(Speaks::Sessions).await
    }

    /// One that speaks as it is told.
    pub async fn start(speaks: Speaks) -> Self {
        let script = Arc::new(Script {
            speaks,
            answers: Mutex::default(),
            received: Mutex::default(),
            sessions: Mutex::default(),
            unknown_session: Mutex::new(StatusCode::NOT_FOUND),
            feed: broadcast::Sender::new(FEED),
            streams: AtomicUsize::new(0),
            abandoned: Mutex::default(),
            replies: watch::Sender::default(),
            counter: AtomicUsize::new(1),
        });
        let listener = TcpListener::bind(ANYWHERE).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { address, script, serving: Mutex::default() };
        server.serve(listener);
        server
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Where a proxy in front of it connects to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says how a method is answered from now on, instead of what was said before. An HTTP GET goes by `GET`.
    pub fn on(&self, method: &str, answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) {
        self.script.answers.lock().unwrap().insert(method.to_owned(), Arc::new(answer));
    }

    /// Offers these tools and no others.
    pub fn offer(&self, tools: &[Value]) {
        let listed = serde_json::json!({ "tools": tools });
        self.on("tools/list", move |_| Answer::result(listed.clone()));
    }

    /// Sends a notification to every open listen stream (legacy: GET stream), tagged for each.
    pub fn notify(&self, method: &str, params: &Value) {
        let message = serde_json::json!({"jsonrpc": "2.0", "method": method, "params": params});
        // Nobody listening is no failure: that is what a test of it wants to see.
        drop(self.script.feed.send(message));
    }

    /// Forgets all sessions, as a restart does; whoever uses one then hears this status (404, or 400 as some servers do).
    pub fn forget_sessions(&self, refuse_with: StatusCode) {
        *self.script.unknown_session.lock().unwrap() = refuse_with;
        self.script.sessions.lock().unwrap().clear();
    }

    /// Closes every connection and refuses new ones.
    pub async fn refuse_connections(&self) {
        let mut serving = std::mem::take(&mut *self.serving.lock().unwrap());
        serving.shutdown().await;
    }

    /// Serves again, at the same address.
    pub async fn accept_connections(&self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> usize {
        self.script.sessions.lock().unwrap().len()
    }

    /// How many listen streams (legacy: GET streams) are open.
    pub fn streams(&self) -> usize {
        self.script.streams.load(Ordering::Relaxed)
    }

    /// Everything that reached it, in order.
    pub fn received(&self) -> Vec<Received> {
        self.script.received.lock().unwrap().clone()
    }

    /// The requests of one method; a notification has a method too.
    pub fn received_of(&self, method: &str) -> Vec<Received> {
        self.received().into_iter().filter(|it| it.method() == method).collect()
    }

    /// Waits until so many requests of one method came, and returns them.
    pub async fn wait_for(&self, method: &str, count: usize) -> Vec<Received> {
        eventually(async || self.received_of(method).len() >= count).await;
        self.received_of(method)
    }

    /// How often a client left such a request before it was answered to the end.
    pub fn abandoned(&self, method: &str) -> usize {
        self.script.abandoned.lock().unwrap().get(method).copied().unwrap_or(0)
    }

    fn serve(&self, listener: TcpListener) {
        let mut serving = self.serving.lock().unwrap();
        serving.spawn(serve::accept(listener, Arc::clone(&self.script)));
    }
}

impl Received {
    /// The JSON-RPC method; empty in a response and where there is no message.
    pub fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    /// The request's params.
    pub fn params(&self) -> &Value {
        &self.message["params"]
    }

    /// The id, with its JSON type.
    pub fn id(&self) -> &Value {
        &self.message["id"]
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    /// A key of `params._meta`; null where it is absent.
    pub fn meta(&self, key: &str) -> &Value {
        &self.message["params"]["_meta"][key]
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("speaks", &self.speaks).finish_non_exhaustive()
    }
}
