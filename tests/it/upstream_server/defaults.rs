//! How the scripted upstream answers what no test scripted: as a small server in good order.

use serde_json::{Value, json};

use super::{Answer, Received, Speaks};

/// A tool as a list shows it, with any arguments.
pub fn tool(name: &str) -> Value {
    json!({"name": name, "description": format!("The tool {name}."), "inputSchema": {"type": "object"}})
}

/// A prompt as a list shows it.
pub fn prompt(name: &str) -> Value {
    json!({"name": name, "description": format!("The prompt {name}.")})
}

/// A resource as a list shows it.
pub fn resource(uri: &str) -> Value {
    json!({"uri": uri, "name": uri, "mimeType": "text/plain"})
}

/// What every server says of itself here.
fn capabilities(speaks: Speaks) -> Value {
    let mut all = json!({
        "tools": {"listChanged": true},
        "prompts": {"listChanged": true},
        "resources": {"listChanged": true, "subscribe": true},
        "completions": {},
        "logging": {},
    });
    if speaks == Speaks::Modern {
        all["extensions"] = json!({});
    }
    all
}

/// `None` where the method is none of this server's era.
pub(super) fn answer(speaks: Speaks, request: &Received) -> Option<Answer> {
    let params = request.params();
    let result = match request.method() {
        "server/discover" if speaks == Speaks::Modern => json!({
            "supportedVersions": ["2026-07-28"],
            "capabilities": capabilities(speaks),
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "scripted", "version": "1"}},
        }),
        "initialize" if speaks != Speaks::Modern => json!({
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities(speaks),
            "serverInfo": {"name": "scripted", "version": "1"},
        }),
        "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe"
            if speaks != Speaks::Modern =>
        {
            json!({})
        }
        "subscriptions/listen" if speaks == Speaks::Modern => return Some(listen(request)),
        "tools/list" => json!({"tools": [tool("echo")]}),
        "prompts/list" => json!({"prompts": [prompt("greeting")]}),
        "resources/list" => json!({"resources": [resource("test://text")]}),
        "resources/templates/list" => json!({"resourceTemplates": []}),
        "tools/call" => json!({
            "content": [{"type": "text", "text": params["name"]}],
            "structuredContent": {"name": params["name"], "arguments": params["arguments"]},
        }),
        "prompts/get" => json!({
            "messages": [{"role": "user", "content": {"type": "text", "text": params["name"]}}],
        }),
        "resources/read" => json!({
            "contents": [{"uri": params["uri"], "mimeType": "text/plain", "text": "text"}],
        }),
        "completion/complete" => json!({"completion": {"values": ["one"], "hasMore": false}}),
        _ => return None,
    };
    Some(Answer::result(result))
}

/// Acknowledges all that was asked for, then streams what the test notifies (basic/patterns/subscriptions).
fn listen(request: &Received) -> Answer {
    Answer::stream()
        .then(json!({
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {
                "notifications": request.params()["notifications"],
                "_meta": {"io.modelcontextprotocol/subscriptionId": request.id()},
            },
        }))
        .feed()
}
