//! Messages made from the official schema, as it allows them and spoilt: whatever comes, the answer is JSON-RPC by the
//! schema, never a server's error, and never long in coming.
//!
//! `GENERATED_MESSAGES` is how many there are, `GENERATED_SEED` where they begin. A failure names the seed of its message.

#![expect(clippy::unwrap_used, reason = "what cannot be made or sent fails the test")]

mod instances;
mod mutations;
mod random;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use baton::serve::{ConnectionLimits, Drain, DrainTimings, Listener, RequestBody, serve};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use self::instances::Instances;
use self::mutations::{Sent, bend, misname, scratch};
use self::random::Random;
use crate::cluster::{ALICE, Cluster};
use crate::mcp_client::{McpClient, Modern};

const MODERN: &str = include_str!("../../fixtures/schema/mcp-2026-07-28.json");
const LEGACY: &str = include_str!("../../fixtures/schema/mcp-2025-11-25.json");
/// Connections at once.
const AT_ONCE: usize = 16;
/// Far more than any of these asks for, on a machine that does other things.
const LONG: Duration = Duration::from_secs(20);

/// What messages are made from.
struct Source {
    modern: Value,
    legacy: Value,
    /// What there is to call, as it was listed, with what takes a second at most.
    tools: Vec<Value>,
    environment: String,
}

/// One message, and whether nothing was done to it.
struct Case {
    sent: Sent,
    is_intact: bool,
}

impl Source {
    async fn new(client: &McpClient) -> Self {
        let mut modern: Value = serde_json::from_str(MODERN).unwrap();
        modern["$defs"]["TaskRequest"] = task_request();
        let legacy = serde_json::from_str(LEGACY).unwrap();
        let mut listed = client.modern("tools/list", json!({})).await.result();
        let tools = listed["tools"].as_array_mut().unwrap().drain(..).collect();
        Self { modern, legacy, tools, environment: client.launch().await }
    }

    /// The message of one seed.
    fn case(&self, seed: u64) -> Case {
        let mut random = Random::new(seed);
        let (mut headers, mut message) = self.message(&mut random);
        let damage = *random.one_of(&[0, 0, 1, 1, 1, 2, 3]);
        let kinds: Vec<usize> = (0..damage).map(|_| random.below(3)).collect();
        for _ in kinds.iter().filter(|kind| **kind == 0) {
            bend(&mut message, &mut random);
        }
        let mut body = message.to_string().into_bytes();
        for kind in &kinds {
            match kind {
                1 => scratch(&mut body, &mut random),
                2 => misname(&mut headers, &mut random),
                _ => {}
            }
        }
        Case { sent: Sent { headers, body }, is_intact: damage == 0 }
    }

    /// A message as the schema has it, with the headers that belong to it.
    fn message(&self, random: &mut Random) -> (Vec<(String, String)>, Value) {
        let (is_modern, name) = match random.below(10) {
            0 => (false, "ClientRequest"),
            1 => (false, "ClientNotification"),
            2 => (true, "ClientNotification"),
            3 => (true, "TaskRequest"),
            4 => (true, "JSONRPCResultResponse"),
            5..8 => (true, "CallToolRequest"),
            _ => (true, "ClientRequest"),
        };
        let document = if is_modern { &self.modern } else { &self.legacy };
        let definition = document["$defs"].get(name).expect("it is in the schema");
        let mut message = Instances { document, random }.of(definition, 0);
        if message["method"] == "tools/call" && !random.once_in(5) {
            self.aim(&mut message, random);
        }
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("accept".to_owned(), "application/json, text/event-stream".to_owned()),
        ];
        if is_modern && message["method"].is_string() {
            describe(&mut message, &mut headers);
        }
        (headers, message)
    }

    /// Makes a call one of a tool that is there, with arguments that its schema allows.
    fn aim(&self, message: &mut Value, random: &mut Random) {
        let tool = random.one_of(&self.tools);
        let schema = &tool["inputSchema"];
        let mut arguments = Instances { document: schema, random }.of(schema, 0);
        if arguments.get("environmentId").is_some() && !random.once_in(4) {
            arguments["environmentId"] = json!(self.environment);
        }
        // What it does is no concern of the protocol's, but must not take long.
        for (name, short) in [("pythonCode", "1"), ("shellCommand", "true"), ("limit", "10")] {
            if arguments.get(name).is_some() {
                arguments[name] = serde_json::from_str(short).unwrap_or_else(|_| json!(short));
            }
        }
        if arguments.get("execCommandAndArgs").is_some() {
            arguments["execCommandAndArgs"] = json!(["true"]);
        }
        let name = match tool["name"].as_str().unwrap() {
            // The one environment is not to go.
            "closeEnvironment" => "whoami",
            // Of others there is no end.
            "launchShell" | "launchPythonEnvironment" if !random.once_in(50) => "whoami",
            name => name,
        };
        message["params"]["name"] = json!(name);
        message["params"]["arguments"] = arguments;
    }
}

/// The requests of the tasks extension, which has no schema of its own.
fn task_request() -> Value {
    let params = json!({
        "type": "object",
        "properties": {
            "_meta": {"$ref": "#/$defs/RequestMetaObject"},
            "taskId": {"type": "string"},
            "inputResponses": {"$ref": "#/$defs/InputResponses"},
        },
        "required": ["_meta", "taskId"],
    });
    json!({
        "type": "object",
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "id": {"$ref": "#/$defs/RequestId"},
            "method": {"enum": ["tasks/get", "tasks/update", "tasks/cancel"]},
            "params": params,
        },
        "required": ["jsonrpc", "id", "method", "params"],
    })
}

/// Says in `_meta` and the headers what every modern request says there.
fn describe(message: &mut Value, headers: &mut Vec<(String, String)>) {
    let method = message["method"].as_str().unwrap().to_owned();
    if message.get("id").is_some() {
        message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        if let Some(meta) = message["params"]["_meta"].as_object_mut() {
            // What these say has a form that the schema does not tell.
            for name in ["dev.baton/idempotencyKey", "traceparent", "tracestate", "baggage"] {
                meta.remove(name);
            }
        }
    }
    let name = ["name", "uri", "taskId"].iter().find_map(|key| message["params"][*key].as_str());
    headers.push(("mcp-protocol-version".to_owned(), "2026-07-28".to_owned()));
    if let Some(name) = name {
        headers.push(("mcp-name".to_owned(), in_header(name)));
    }
    headers.push(("mcp-method".to_owned(), method));
}

/// A text as a header carries it (streamable-http, "Value Encoding").
fn in_header(text: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let is_plain = text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) && !text.starts_with("=?");
    if is_plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

/// Sends one message and says what is wrong with the answer.
async fn ask(client: &McpClient, case: &Case) -> Result<(), String> {
    let Sent { headers, body } = &case.sent;
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut answer = client
        .open_as(&headers, body.clone())
        .await
        .map_err(|error| format!("the connection was closed: {error}"))?;
    let status = answer.status.as_u16();
    if status >= 500 {
        return Err(format!("status {status}: {:?}", answer.next().await));
    }
    let kind = answer.headers.get("content-type").map(|it| it.to_str().unwrap().to_owned());
    match kind.as_deref() {
        None => {
            return match status {
                202 | 400 | 408 | 431 => Ok(()),
                other => Err(format!("status {other} without a body")),
            };
        }
        Some("application/json" | "text/event-stream") => {}
        Some(other) => return Err(format!("a body of {other}")),
    }
    // A stream that listens has no end; its first message says that it is one.
    let Some(message) = answer.next().await else {
        return Err("a body that is no message".to_owned());
    };
    let code = message["error"]["code"].as_i64();
    if code == Some(-32603) {
        return Err(format!("a fault of ours: {message}"));
    }
    if case.is_intact && matches!(code, Some(-32700 | -32600 | -32020)) {
        return Err(format!("what the schema allows is refused: {message}"));
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "how much is tested is set from outside, as for proptest"
)]
fn setting(name: &str, standard: u64) -> u64 {
    std::env::var(name).map_or(standard, |text| text.parse().unwrap())
}

#[tokio::test]
async fn whatever_comes_is_answered_by_the_schema_and_never_by_a_fault() {
    let count = setting("GENERATED_MESSAGES", 5_000);
    let first = setting("GENERATED_SEED", 1);
    let cluster = Cluster::start(1, 1, |config| {
        config.listens.streams = 100_000;
        config.listens.streams_per_tenant = 100_000;
    })
    .await;
    let client = cluster.client(0, ALICE);
    let source = Source::new(&client).await;
    let source = &source;
    let wrong: Vec<String> = stream::iter(first..first + count)
        .map(|seed| {
            let client = client.clone();
            async move {
                let case = source.case(seed);
                let asking = AssertUnwindSafe(ask(&client, &case)).catch_unwind();
                let wrong = match tokio::time::timeout(LONG, asking).await {
                    Ok(Ok(Ok(()))) => return None,
                    Ok(Ok(Err(wrong))) => wrong,
                    Ok(Err(_)) => "it does not fit the schema, as the panic above says".to_owned(),
                    Err(_) => "no answer".to_owned(),
                };
                let text = String::from_utf8_lossy(&case.sent.body);
                let text: String = text.chars().take(2_000).collect();
                Some(format!("seed {seed}: {wrong}\n{:?}\n{text}", case.sent.headers))
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |wrong| wrong)
        .take(5)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // It is as it was: the environment answers, and no call is under way.
    client.python(&source.environment, "1").await;
}

/// A server that answers everything with this.
fn answering(status: u16, kind: Option<&'static str>, body: &'static str) -> McpClient {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = McpClient::new(&format!("http://{}/mcp", listener.local_addr()));
    let app = tower::service_fn(move |_: Request<RequestBody>| async move {
        let mut response = Response::builder().status(status);
        response = kind.into_iter().fold(response, |it, kind| it.header("content-type", kind));
        Ok::<_, Infallible>(response.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap())
    });
    let drain = Drain::new(DrainTimings::default());
    TaskTracker::new().spawn(serve(listener, app, ConnectionLimits::default(), drain));
    client
}

#[tokio::test]
async fn a_server_that_does_otherwise_is_found_out() {
    let request = Modern::new("ping", json!({}));
    let sent = Sent { headers: request.headers.clone(), body: request.body().into_bytes() };
    let case = Case { sent, is_intact: true };
    let check = async |status, kind, body: &'static str, is_fine: bool| {
        let client = answering(status, kind, body);
        let found = AssertUnwindSafe(ask(&client, &case)).catch_unwind().await;
        assert_eq!(matches!(found, Ok(Ok(()))), is_fine, "{status} {kind:?} {body}: {found:?}");
    };
    let json = Some("application/json");
    let refusal = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}"#;
    check(400, json, refusal, true).await;
    check(202, None, "", true).await;
    check(503, json, refusal, false).await;
    check(200, None, "", false).await;
    check(200, json, "{", false).await;
    check(400, Some("text/html"), "<html>", false).await;
    check(400, json, r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"m"}}"#, false)
        .await;
    check(400, json, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602}}"#, false).await;
    check(400, json, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"m"}}"#, false)
        .await;
    check(400, json, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32700,"message":"m"}}"#, false)
        .await;
}
