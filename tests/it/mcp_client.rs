//! A client that sends just what a test says: no SDK would send what must be refused.

#![expect(clippy::unwrap_used, reason = "a test whose request cannot be made has failed")]

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::schema::Asked;

/// No answer takes longer in a test.
const DEADLINE: Duration = Duration::from_mins(1);

/// One client, with or without an API key. Each clone has the same connections.
#[derive(Clone, Debug)]
pub struct McpClient {
    http: Client<HttpConnector, Full<Bytes>>,
    pub url: String,
    key: Option<String>,
    /// Whether each message is held to the schema of its revision.
    judges: bool,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl McpClient {
    pub fn new(url: &str) -> Self {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { http, url: url.to_owned(), key: None, judges: true }
    }

    /// One that takes what a server of the tests says as it comes.
    pub fn unjudging(url: &str) -> Self {
        Self { judges: false, ..Self::new(url) }
    }

    pub fn with_key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    /// The same client at another replica.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// A POST of these bytes with these headers and no others but the key's.
    pub async fn post(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.send("POST", headers, body).await
    }

    /// Any HTTP request.
    pub async fn send(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body = body.into();
        let asked = self.judged(method, headers, &body);
        let request = self.request(method, headers, body);
        let exchange = async {
            let response = self.http.request(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Answer { status: parts.status, headers: parts.headers, body }
        };
        let answer = tokio::time::timeout(DEADLINE, exchange).await.expect("no answer came");
        if let Some(asked) = asked {
            answer.messages().iter().for_each(|message| judge(&asked, message));
        }
        answer
    }

    /// What was asked, where it is for the schema to say what may come back.
    fn judged(&self, method: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Asked> {
        (self.judges && method == "POST" && self.url.ends_with("/mcp"))
            .then(|| Asked::of(headers, body))
    }

    fn request(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::builder().method(method).uri(&self.url);
        let all = request.headers_mut().unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            all.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        if let Some(key) = &self.key {
            all.insert("x-ms-apikey", key.parse().unwrap());
        }
        request.body(Full::new(body.into())).unwrap()
    }

    /// A well-formed request of revision 2026-07-28.
    pub async fn modern(&self, method: &str, params: Value) -> Answer {
        let request = Modern::new(method, params);
        self.post(&request.headers(), request.body()).await
    }

    /// The same, read message by message while it goes on.
    pub async fn open(&self, request: &Modern) -> Messages {
        self.try_open(request).await.unwrap()
    }

    /// The same, where the connection may be closed instead of an answer.
    pub async fn try_open(&self, modern: &Modern) -> Result<Messages, Error> {
        self.open_as(&modern.headers(), modern.body()).await
    }

    /// The same of these bytes with these headers.
    pub async fn open_as(
        &self,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Messages, Error> {
        let body = body.into();
        let asked = self.judged("POST", headers, &body);
        let response = self.http.request(self.request("POST", headers, body));
        let response = tokio::time::timeout(DEADLINE, response).await.expect("no head came")?;
        let (parts, body) = response.into_parts();
        let (waiting, broken) = (Vec::new(), false);
        Ok(Messages { status: parts.status, headers: parts.headers, broken, body, waiting, asked })
    }

    /// A request as the legacy revisions send it.
    pub async fn legacy(&self, method: &str, params: Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let headers = [(CONTENT_TYPE.as_str(), "application/json"), (ACCEPT.as_str(), "*/*")];
        self.post(&headers, body.to_string()).await
    }

    /// A request of one legacy revision, which takes streams and is always answered with 200.
    pub async fn legacy_of(&self, version: &str, method: &str, params: Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let headers = [
            (CONTENT_TYPE.as_str(), "application/json"),
            (ACCEPT.as_str(), "application/json, text/event-stream"),
            ("mcp-protocol-version", version),
        ];
        let answer = self.post(&headers, body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer
    }

    /// Calls a tool and returns the result, whatever it says.
    pub async fn tool(&self, name: &str, arguments: Value) -> Value {
        let answer = self.modern("tools/call", json!({"name": name, "arguments": arguments})).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}: {answer:?}");
        answer.result()
    }

    /// Calls a tool that must succeed and returns its structure.
    pub async fn succeed(&self, name: &str, arguments: Value) -> Value {
        let result = self.tool(name, arguments).await;
        assert_eq!(result["isError"], false, "{name}: {result}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that must fail as a tool, and returns what the model reads and what a program does.
    pub async fn fail(&self, name: &str, arguments: Value) -> (String, Value) {
        let result = self.tool(name, arguments).await;
        assert_eq!(result["isError"], true, "{name}: {result}");
        let text = result["content"][0]["text"].as_str().unwrap().to_owned();
        (text, result["structuredContent"].clone())
    }

    /// A new environment's id.
    pub async fn launch(&self) -> String {
        let launched = self.succeed("launchShell", json!({})).await;
        launched["environmentId"].as_str().unwrap().to_owned()
    }

    /// Runs Python that must succeed.
    pub async fn python(&self, environment: &str, code: &str) -> Value {
        let arguments = json!({"environmentId": environment, "pythonCode": code});
        self.succeed("runPythonCodeInRemoteEnvironment", arguments).await
    }

    /// Runs a shell line.
    pub async fn shell(&self, environment: &str, line: &str) -> Value {
        let arguments = json!({"environmentId": environment, "shellCommand": line});
        self.succeed("runShellCommandInRemoteEnvironment", arguments).await
    }
}

impl Answer {
    /// The body as JSON; of a stream, its last message.
    pub fn json(&self) -> Value {
        let last = self.messages().pop();
        last.unwrap_or_else(|| panic!("no message: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Every JSON-RPC message of the body.
    pub fn messages(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.body);
        let parse = |message: &str| {
            serde_json::from_str(message).unwrap_or_else(|error| panic!("{error}: {text}"))
        };
        match self.header("content-type") {
            Some("text/event-stream") => {
                text.lines().filter_map(|it| it.strip_prefix("data: ")).map(parse).collect()
            }
            Some("application/json") => vec![parse(&text)],
            _ => Vec::new(),
        }
    }

    /// The result of a response that has one.
    pub fn result(&self) -> Value {
        let mut message = self.json();
        assert!(message.get("error").is_none(), "{message}");
        message["result"].take()
    }

    /// The error of a response that has one.
    pub fn error(&self) -> Value {
        let mut message = self.json();
        assert!(message.get("result").is_none(), "{message}");
        message["error"].take()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }
}

/// An answer being read, one JSON-RPC message after the other.
#[derive(Debug)]
pub struct Messages {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The connection broke before the answer's end.
    pub broken: bool,
    body: Incoming,
    waiting: Vec<u8>,
    asked: Option<Asked>,
}

impl Messages {
    /// The next message, comments left out; none at the end.
    pub async fn next(&mut self) -> Option<Value> {
        let read = async {
            while !self.broken {
                if let Some(message) = self.take_event() {
                    return Some(message);
                }
                match self.body.frame().await {
                    None => return self.take_rest(),
                    Some(Ok(frame)) => self.waiting.extend(frame.into_data().unwrap_or_default()),
                    Some(Err(_)) => self.broken = true,
                }
            }
            None
        };
        let read = tokio::time::timeout(DEADLINE, read).await;
        let message = read.expect("neither a message nor an end came");
        if let (Some(asked), Some(message)) = (&self.asked, &message) {
            judge(asked, message);
        }
        message
    }

    /// The message of the first whole event that has one.
    fn take_event(&mut self) -> Option<Value> {
        loop {
            let end = self.waiting.windows(2).position(|two| two == b"\n\n")?;
            let event: Vec<u8> = self.waiting.drain(..end + 2).collect();
            let text = String::from_utf8(event).unwrap();
            if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The one message of an answer that is no stream.
    fn take_rest(&mut self) -> Option<Value> {
        serde_json::from_slice(&std::mem::take(&mut self.waiting)).ok()
    }
}

fn judge(asked: &Asked, message: &Value) {
    if let Err(why) = asked.admits(message) {
        panic!("what left the gateway does not fit the schema: {why}\n{asked:?}\n{message}");
    }
}

/// A request of revision 2026-07-28, whose parts a test may bend.
#[derive(Clone, Debug)]
pub struct Modern {
    pub message: Value,
    pub headers: Vec<(String, String)>,
}

impl Modern {
    pub fn new(method: &str, mut params: Value) -> Self {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "it", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let given = params.get("_meta").cloned();
        params["_meta"] = meta;
        if let Some(Value::Object(given)) = given {
            params["_meta"].as_object_mut().unwrap().extend(given);
        }
        let name = ["name", "uri", "taskId"].iter().find_map(|key| params[*key].as_str());
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("accept".to_owned(), "application/json, text/event-stream".to_owned()),
            ("mcp-protocol-version".to_owned(), "2026-07-28".to_owned()),
            ("mcp-method".to_owned(), method.to_owned()),
        ];
        headers.extend(name.map(|name| ("mcp-name".to_owned(), name.to_owned())));
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        Self { message, headers }
    }

    /// With one header set to something else, or taken away.
    pub fn with_header(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    pub fn headers(&self) -> Vec<(&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    pub fn body(&self) -> String {
        self.message.to_string()
    }
}
