//! One MCP endpoint over HTTP, revision 2026-07-28: every request carries all that it needs.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::domain::api_key::ApiKey;
use crate::mcp::{EventReader, IdempotencyKey, JsonBuf, Mirror, encode_header};

use super::error::CallError;

const VERSION: &str = "2026-07-28";
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A gateway that works sends at least a comment each 15 s.
const SILENCE: Duration = Duration::from_mins(1);
/// Longest answer that is taken as one JSON document or event.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// How many pages of a list are asked for.
const MAX_PAGES: usize = 100;
/// The code of a request whose headers the server finds wrong.
const HEADER_MISMATCH: i64 = -32020;

/// Where calls go, and as whom.
#[derive(Debug)]
pub(crate) struct Endpoint {
    uri: Uri,
    api_key: Option<ApiKey>,
    idempotency_key: Option<IdempotencyKey>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What a server says of a request while it works.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Progress {
    /// A piece of output, or a word on how far it is.
    pub(crate) message: Option<String>,
    #[serde(rename = "_meta")]
    meta: ProgressMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProgressMeta {
    #[serde(rename = "dev.baton/stream")]
    stream: Option<String>,
}

impl Progress {
    /// Which output the message is a piece of: `stdout`, `stderr`, or none.
    pub(crate) fn stream(&self) -> Option<&str> {
        self.meta.stream.as_deref()
    }
}

impl Endpoint {
    /// An endpoint that is not asked yet. Plain HTTP only: TLS would be a dependency for this one command.
    pub(crate) fn new(url: &str, api_key: Option<ApiKey>) -> Result<Self, CallError> {
        let uri: Uri = url.parse().map_err(|_| CallError::Url { url: url.to_owned() })?;
        if uri.scheme_str() != Some("http") {
            return Err(CallError::Tls { url: url.to_owned() });
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_DEADLINE));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { uri, api_key, idempotency_key: None, client })
    }

    /// The same, whose tool calls have this key.
    pub(crate) fn with_idempotency_key(self, idempotency_key: Option<IdempotencyKey>) -> Self {
        Self { idempotency_key, ..self }
    }

    /// Asks what the server is; gives its name and version.
    pub(crate) async fn discover(&self) -> Result<Box<RawValue>, CallError> {
        self.request("server/discover", None, json!({}), &[], &mut |_| ()).await
    }

    /// All tools, page by page.
    pub(crate) async fn tools(&self) -> Result<Vec<Value>, CallError> {
        let mut tools = Vec::new();
        let mut params = json!({});
        for _ in 0..MAX_PAGES {
            let page = self.request("tools/list", None, params, &[], &mut |_| ()).await?;
            let mut page: Value = parse(page.get().as_bytes())?;
            if let Some(Value::Array(more)) = page.get_mut("tools").map(Value::take) {
                tools.extend(more);
            }
            match page.get("nextCursor") {
                Some(Value::String(cursor)) => params = json!({ "cursor": cursor }),
                _ => break,
            }
        }
        Ok(tools)
    }

    /// Calls a tool. `progress` hears what comes while it runs.
    pub(crate) async fn call(
        &self,
        tool: &str,
        arguments: &Value,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Box<RawValue>, CallError> {
        let params = json!({ "name": tool, "arguments": arguments });
        let first = self.request("tools/call", Some(tool), params.clone(), &[], progress).await;
        match first {
            // The tool wants arguments in headers too, which only its schema tells. It was not run.
            Err(CallError::Refused { code: HEADER_MISMATCH, .. }) => {
                let tools = self.tools().await?;
                let wanted = tools.iter().find(|it| it["name"] == *tool);
                let mirrored = wanted.map(|it| mirrored(&it["inputSchema"], arguments));
                let mirrored = mirrored.unwrap_or_default();
                self.request("tools/call", Some(tool), params, &mirrored, progress).await
            }
            other => other,
        }
    }

    async fn request(
        &self,
        method: &str,
        name: Option<&str>,
        mut params: Value,
        mirrored: &[(HeaderName, HeaderValue)],
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Box<RawValue>, CallError> {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientInfo": { "name": "baton-call", "version": env!("CARGO_PKG_VERSION") },
            "io.modelcontextprotocol/clientCapabilities": {},
            "progressToken": 1,
        });
        if let (Some(key), "tools/call") = (&self.idempotency_key, method) {
            params["_meta"]["dev.baton/idempotencyKey"] = key.as_str().into();
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("MCP-Protocol-Version", VERSION)
            .header("Mcp-Method", method);
        if let Some(name) = name {
            request = request.header("Mcp-Name", encode_header(name));
        }
        if let Some(key) = &self.api_key {
            let mut value = HeaderValue::from_str(key.reveal()).expect("a key is printable ASCII");
            value.set_sensitive(true);
            request = request.header("x-ms-apikey", value);
        }
        for (name, value) in mirrored {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|_| CallError::Url { url: self.uri.to_string() })?;
        let answer = timeout(SILENCE, self.client.request(request)).await;
        let answer = answer.map_err(|_| CallError::Silent)?.map_err(|source| {
            CallError::Unreachable { url: self.uri.to_string(), source: Box::new(source) }
        })?;
        self.read(answer, progress).await
    }

    async fn read(
        &self,
        answer: Response<Incoming>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Box<RawValue>, CallError> {
        let status = answer.status();
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let streams = kind.is_some_and(|it| it.starts_with("text/event-stream"));
        let mut body = answer.into_body();
        let mut events = EventReader::new(MAX_ANSWER_BYTES);
        let mut whole = Vec::new();
        while let Some(frame) =
            timeout(SILENCE, body.frame()).await.map_err(|_| CallError::Silent)?
        {
            let Ok(bytes) = frame.map_err(CallError::cut)?.into_data() else { continue };
            if !streams {
                whole.extend_from_slice(&bytes);
                if whole.len() > MAX_ANSWER_BYTES {
                    return Err(CallError::NotMcp { status, what: "a too long answer" });
                }
                continue;
            }
            events.feed(&bytes);
            let too_long = |_| CallError::NotMcp { status, what: "a too long event" };
            while let Some(event) = events.event().map_err(too_long)? {
                let message: Message = parse(&event.data)?;
                match message.method.as_deref() {
                    Some("notifications/progress") => progress(message.progress()),
                    Some(_) => {}
                    None => return self.outcome(status, message),
                }
            }
        }
        match serde_json::from_slice::<Message>(&whole) {
            Ok(message) if !streams => self.outcome(status, message),
            _ if status == StatusCode::UNAUTHORIZED => Err(self.unauthorized()),
            _ if streams => Err(CallError::NotMcp { status, what: "a stream without a result" }),
            _ => Err(CallError::NotMcp { status, what: "no JSON-RPC message" }),
        }
    }

    fn outcome(&self, status: StatusCode, message: Message) -> Result<Box<RawValue>, CallError> {
        match (message.result, message.error) {
            (Some(result), None) => Ok(result),
            (_, Some(_)) if status == StatusCode::UNAUTHORIZED => Err(self.unauthorized()),
            (_, Some(error)) => {
                let data = error.data.unwrap_or_default();
                Err(CallError::Refused { code: error.code, message: error.message, data })
            }
            (None, None) => {
                Err(CallError::NotMcp { status, what: "neither a result nor an error" })
            }
        }
    }

    fn unauthorized(&self) -> CallError {
        match &self.api_key {
            None => CallError::NoKey,
            Some(key) if key.is_damaged() => CallError::DamagedKey,
            Some(_) => CallError::WrongKey,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Message {
    method: Option<String>,
    params: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    error: Option<RpcError>,
}

impl Message {
    /// A notification that says nothing we know says nothing.
    fn progress(&self) -> Progress {
        let params = self.params.as_ref().map(|it| serde_json::from_str(it.get()));
        params.and_then(Result::ok).unwrap_or_default()
    }
}

#[derive(Debug, Deserialize)]
struct RpcError {
    code: i64,
    message: String,
    data: Option<Value>,
}

/// The headers that a tool wants some of its arguments repeated in (streamable-http, "Custom Headers from Tool
/// Parameters").
fn mirrored(schema: &Value, arguments: &Value) -> Vec<(HeaderName, HeaderValue)> {
    let raw = |value| JsonBuf::of(value);
    let (schema, arguments) = (raw(schema), raw(arguments));
    let mirrors = Mirror::in_schema(schema.json()).unwrap_or_default();
    let header = |it: &Mirror| Some((it.header().clone(), it.header_value(arguments.json())?));
    mirrors.iter().filter_map(header).collect()
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CallError> {
    serde_json::from_slice(bytes)
        .map_err(|_| CallError::NotMcp { status: StatusCode::OK, what: "no JSON-RPC message" })
}
