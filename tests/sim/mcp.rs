//! What a client says to a gateway, and what it makes of the answer.

use std::time::Duration;

use baton::net::Connector;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::network;
use crate::story::{Executed, Said};

/// One principal's way to all gateways.
#[derive(Clone, Debug)]
pub struct Mcp {
    http: Client<Connector, Full<Bytes>>,
    api_key: &'static str,
}

/// What a tool's call came to.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Its `structuredContent`.
    Content(Value),
    /// An error of any kind: its `data`, and words for the trace.
    Error(Value, String),
    /// No answer, or none of a gateway's.
    Nothing,
}

impl Mcp {
    pub fn new(api_key: &'static str) -> Self {
        let connector = network::net().connector(Duration::from_secs(1), Duration::from_secs(15));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(5))
            .build(connector);
        Self { http, api_key }
    }

    /// Calls a tool through one gateway, and waits no longer than `patience`.
    pub async fn call(
        &self,
        gateway: &str,
        tool: &str,
        arguments: Value,
        key: Option<&str>,
        patience: Duration,
    ) -> Reply {
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "sim", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        if let Some(key) = key {
            meta["dev.baton/idempotencyKey"] = key.into();
        }
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let request = Request::post(format!("http://{gateway}:8080/mcp"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .header("x-ms-apikey", self.api_key)
            .body(Full::new(Bytes::from(message.to_string())))
            .expect("it is well-formed");
        let exchange = async {
            let response = self.http.request(request).await.ok()?;
            Some(response.into_body().collect().await.ok()?.to_bytes())
        };
        let body = timeout(patience, exchange).await.ok().flatten();
        body.and_then(|body| read(&body)).map_or(Reply::Nothing, |message| reply(&message))
    }
}

/// The message in a body, which may be a stream's last event.
fn read(body: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(body).ok()?;
    let json = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap_or(text);
    serde_json::from_str(json).ok()
}

fn reply(message: &Value) -> Reply {
    if let Some(error) = message.get("error") {
        return Reply::Error(error["data"].clone(), error["message"].to_string());
    }
    let result = &message["result"];
    let content = result["structuredContent"].clone();
    if result["isError"] == true && content.get("stdout").is_none() {
        return Reply::Error(content, result["content"][0]["text"].to_string());
    }
    Reply::Content(content)
}

impl Reply {
    /// What it says of an execution.
    pub fn of_execution(&self) -> Said {
        match self {
            Self::Content(content) => {
                Said::Done(content["stdout"].as_str().unwrap_or("no output").to_owned())
            }
            Self::Error(data, why) => Said::Not {
                executed: match data["executed"].as_str() {
                    Some("no") => Executed::No,
                    Some("yes") => Executed::Yes,
                    _ => Executed::Maybe,
                },
                retryable: data["retryable"] == true,
                why: format!("{}{}", data["environment"]["reason"].as_str().unwrap_or(""), why),
            },
            Self::Nothing => Said::Nothing,
        }
    }

    /// Whether it says that the environment is no more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Error(data, _) if data["environment"]["state"] == "gone")
    }
}
