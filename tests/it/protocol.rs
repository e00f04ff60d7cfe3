//! The protocol on the wire: each MUST that a server can break, by the page and section it comes from.
//!
//! "transport" is basic/transports/streamable-http, "versioning" basic/versioning, "basic" basic/index,
//! "caching" server/utilities/caching, "tools" server/tools, "discover" server/discover.

use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{RunningGateway, config, embedded, keys};
use crate::mcp_client::{Answer, McpClient, Modern};

fn gateway() -> RunningGateway {
    RunningGateway::start(config(embedded()))
}

async fn sent(client: &McpClient, request: &Modern) -> Answer {
    client.post(&request.headers(), request.body()).await
}

/// Checks status, code and that the error names the request.
fn refused(answer: &Answer, status: u16, code: i64) -> Value {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.json()["id"], 1, "{answer:?}");
    let error = answer.error();
    assert_eq!(error["code"], code, "{error}");
    error
}

// discover, "Response"; caching, "Cacheable Results"; basic, "Per-response protocol fields".
#[tokio::test]
async fn discover_says_versions_capabilities_and_who_answers() {
    let gateway = gateway();
    let answer = gateway.client().modern("server/discover", json!({})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let result = answer.result();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    let resources = json!({"listChanged": true, "subscribe": true});
    let extensions = json!({"io.modelcontextprotocol/tasks": {}});
    let capabilities =
        json!({"tools": {"listChanged": true}, "resources": resources, "extensions": extensions});
    assert_eq!(result["capabilities"], capabilities);
    assert!(result["ttlMs"].is_u64() && result["cacheScope"] == "public", "{result}");
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "baton");
    assert_eq!(result["_meta"]["dev.baton/servedBy"].as_str(), answer.header("baton-replica"));
}

// tools, "Listing Tools": SHOULD be in a deterministic order; caching.
#[tokio::test]
async fn the_list_of_tools_is_the_same_each_time_and_on_each_replica() {
    let (one, other) = (gateway(), gateway());
    let list = async |gateway: &RunningGateway| {
        let mut result = gateway.client().modern("tools/list", json!({})).await.result();
        assert!(result["ttlMs"].is_u64() && result["cacheScope"] == "public", "{result}");
        result["tools"].take()
    };
    let tools = list(&one).await;
    assert_eq!(tools, list(&one).await);
    assert_eq!(tools, list(&other).await);
    assert_eq!(tools[0]["name"], "launchShell");
    assert_eq!(tools.as_array().unwrap().len(), 10);
}

// pagination, "Error Handling".
#[tokio::test]
async fn a_cursor_that_was_never_given_is_invalid() {
    let answer = gateway().client().modern("tools/list", json!({"cursor": "x"})).await;
    refused(&answer, 400, -32602);
}

// basic, "`_meta`": required fields; versioning, "Protocol Version Negotiation".
#[tokio::test]
async fn what_meta_must_hold_is_asked_for() {
    let gateway = gateway();
    let client = gateway.client();
    let without = async |key: &str| {
        let mut request = Modern::new("tools/list", json!({}));
        request.message["params"]["_meta"].as_object_mut().unwrap().remove(key).unwrap();
        sent(&client, &request).await
    };
    refused(&without("io.modelcontextprotocol/clientCapabilities").await, 400, -32602);
    refused(&without("io.modelcontextprotocol/protocolVersion").await, 400, -32602);
    let answer = without("io.modelcontextprotocol/clientInfo").await;
    assert_eq!(answer.status, StatusCode::OK, "clientInfo is a SHOULD");
    let mut request = Modern::new("tools/list", json!({}));
    request.message["params"] = json!({});
    refused(&sent(&client, &request).await, 400, -32602);
}

// transport, "Server Validation": missing or differing headers are 400 and -32020.
#[tokio::test]
async fn headers_must_be_there_and_agree_with_the_body() {
    let gateway = gateway();
    let client = gateway.client();
    let call = || Modern::new("tools/call", json!({"name": "whoami", "arguments": {}}));
    for (header, value) in [
        ("mcp-method", None),
        ("mcp-method", Some("tools/list")),
        ("mcp-method", Some("TOOLS/CALL")),
        ("mcp-name", None),
        ("mcp-name", Some("tally")),
        ("mcp-name", Some("Whoami")),
        ("mcp-name", Some("=?base64?d2hv?=")),
        ("mcp-name", Some("=?base64?d2hvYW1p")),
        ("mcp-protocol-version", None),
        ("mcp-protocol-version", Some("2025-11-25")),
        ("mcp-protocol-version", Some("2027-01-01")),
    ] {
        let answer = sent(&client, &call().with_header(header, value)).await;
        refused(&answer, 400, -32020);
    }
    for value in ["whoami", "  whoami ", "=?base64?d2hvYW1p?="] {
        let answer = sent(&client, &call().with_header("mcp-name", Some(value))).await;
        assert_eq!(answer.status, StatusCode::OK, "{value:?}: {answer:?}");
    }
}

// transport, "Server Validation": two values are none, even equal ones.
#[tokio::test]
async fn an_mcp_header_stands_once() {
    let gateway = gateway();
    for name in ["mcp-method", "mcp-name", "mcp-protocol-version"] {
        let mut request = Modern::new("tools/call", json!({"name": "whoami", "arguments": {}}));
        let twice = request.headers.iter().find(|(known, _)| known == name).unwrap().clone();
        request.headers.push(twice);
        refused(&sent(&gateway.client(), &request).await, 400, -32020);
    }
}

// versioning, "Protocol Version Negotiation": -32022 with what is supported and what was asked for.
#[tokio::test]
async fn a_version_we_do_not_speak_is_named_in_the_refusal() {
    let gateway = gateway();
    for version in ["1900-01-01", "2027-01-01", "2025-11-25"] {
        let mut request =
            Modern::new("tools/list", json!({})).with_header("mcp-protocol-version", Some(version));
        request.message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] =
            json!(version);
        let error = refused(&sent(&gateway.client(), &request).await, 400, -32022);
        assert_eq!(error["data"]["supported"], json!(["2026-07-28"]));
        assert_eq!(error["data"]["requested"], version);
    }
}

// transport, "Protocol Version Header": an unknown method is 404 and -32601; removed methods are unknown.
#[tokio::test]
async fn unknown_and_removed_methods_are_not_found() {
    let gateway = gateway();
    for method in [
        "unknown/method",
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "prompts/list",
    ] {
        let answer = gateway.client().modern(method, json!({"uri": "x:y"})).await;
        refused(&answer, 404, -32601);
    }
}

// tools, "Error Handling": an unknown tool is a protocol error.
#[tokio::test]
async fn an_unknown_tool_is_invalid_params() {
    let gateway = gateway();
    let answer =
        gateway.client().modern("tools/call", json!({"name": "nope", "arguments": {}})).await;
    let error = refused(&answer, 400, -32602);
    assert!(error["message"].as_str().unwrap().contains("nope"), "{error}");
    let answer = gateway.client().legacy("tools/call", json!({"name": "nope"})).await;
    refused(&answer, 200, -32602);
}

// transport, "Sending Messages"; JSON-RPC 2.0.
#[tokio::test]
async fn what_is_no_message_is_refused() {
    let gateway = gateway();
    let check = async |body: &str, code: i64| {
        let request = Modern::new("tools/list", json!({}));
        let answer = gateway.client().post(&request.headers(), body.to_owned()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.error()["code"], code, "{body}");
    };
    check("", -32700).await;
    check("{\"jsonrpc\": \"2.0\", ", -32700).await;
    check("\u{feff}{}", -32700).await;
    check("[]", -32600).await;
    check("{}", -32600).await;
    check(r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#, -32600).await;
    check(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, -32600).await;
    check(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}"#, -32600).await;
}

// basic, "Requests": ids are strings or integers, answered as they came.
#[tokio::test]
async fn ids_come_back_to_the_letter() {
    let gateway = gateway();
    for id in ["0", "-1", "9007199254740993", r#""""#, r#""\u0061ü""#, "123456789012345678901"] {
        let request = Modern::new("server/discover", json!({}));
        let body = request.body().replace(r#""id":1"#, &format!(r#""id":{id}"#));
        let answer = gateway.client().post(&request.headers(), body).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(text.contains(&format!(r#""id":{id}"#)), "{id}: {text}");
    }
}

// transport, "Sending Messages" 5: 202 without a body.
#[tokio::test]
async fn notifications_are_accepted() {
    let gateway = gateway();
    let headers =
        [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    for method in
        ["notifications/initialized", "notifications/cancelled", "notifications/unheard/of"]
    {
        let body = json!({"jsonrpc": "2.0", "method": method}).to_string();
        let answer = gateway.client().post(&headers, body).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::ACCEPTED, 0), "{method}");
    }
}

// transport, "Earlier Streamable HTTP Revisions": GET and DELETE are 405; session ids are ignored.
#[tokio::test]
async fn there_are_no_sessions_and_no_standing_streams() {
    let gateway = gateway();
    for method in ["GET", "DELETE", "PUT"] {
        let answer = gateway.client().send(method, &[], "").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let request =
        Modern::new("server/discover", json!({})).with_header("mcp-session-id", Some("s"));
    let answer = sent(&gateway.client(), &request).await;
    assert_eq!((answer.status, answer.header("mcp-session-id")), (StatusCode::OK, None));
}

// transport, "Security & Endpoint" 1.
#[tokio::test]
async fn foreign_origins_and_hosts_are_forbidden() {
    let gateway = gateway();
    let own = gateway.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap().to_owned();
    let with = |name: &str, value: &str| {
        Modern::new("server/discover", json!({})).with_header(name, Some(value))
    };
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("host", "evil.example")]
    {
        let answer = sent(&gateway.client(), &with(name, value)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{name} {value}");
        assert_eq!(answer.json().get("id"), None, "the body was not read");
    }
    let answer = sent(&gateway.client(), &with("origin", &format!("http://{own}"))).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn bodies_have_a_type_and_a_size() {
    let mut config = config(embedded());
    config.max_body_bytes = 1000;
    let gateway = RunningGateway::start(config);
    let discover = || Modern::new("server/discover", json!({}));
    for media in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let answer = sent(&gateway.client(), &discover().with_header("content-type", media)).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{media:?}");
    }
    let media = Some("Application/JSON; charset=utf-8");
    let answer = sent(&gateway.client(), &discover().with_header("content-type", media)).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer =
        sent(&gateway.client(), &discover().with_header("content-encoding", Some("gzip"))).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let answer = gateway.client().post(&discover().headers(), vec![b' '; 1001]).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_key_is_asked_for_where_there_are_keys() {
    let mut config = config(embedded());
    config.credentials = keys(&[("secret", "t", "s")]);
    let gateway = RunningGateway::start(config);
    let answer = gateway.client().modern("server/discover", json!({})).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").is_some());
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("x-ms-apikey"));
    let wrong = gateway.client().with_key("wrong");
    assert_eq!(wrong.modern("server/discover", json!({})).await.status, StatusCode::UNAUTHORIZED);
    let known = gateway.client().with_key("secret");
    let who = known.succeed("whoami", json!({})).await;
    assert_eq!((&who["tenant"], &who["subject"]), (&json!("t"), &json!("s")));
    let bearer = Modern::new("server/discover", json!({}));
    let bearer = bearer.with_header("authorization", Some("Bearer secret"));
    assert_eq!(sent(&gateway.client(), &bearer).await.status, StatusCode::OK);
}

#[tokio::test]
async fn guessing_keys_is_slowed_down() {
    let mut config = config(embedded());
    config.credentials = keys(&[("secret", "t", "s")]);
    let gateway = RunningGateway::start(config);
    let wrong = gateway.client().with_key("wrong");
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(wrong.modern("server/discover", json!({})).await.status);
    }
    assert!(statuses.contains(&StatusCode::TOO_MANY_REQUESTS), "{statuses:?}");
    let known = gateway.client().with_key("secret");
    assert_eq!(known.modern("server/discover", json!({})).await.status, StatusCode::OK);
}

// 2025-11-25 lifecycle, "Version Negotiation"; the replaced platform's tutorials send no params.
#[tokio::test]
async fn initialize_offers_a_legacy_version() {
    let gateway = gateway();
    let asked = async |params: Value| {
        let answer = gateway.client().legacy("initialize", params).await;
        assert_eq!(answer.header("mcp-session-id"), None);
        answer.result()["protocolVersion"].as_str().unwrap().to_owned()
    };
    let client = |version: &str| json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}});
    assert_eq!(asked(client("2025-03-26")).await, "2025-03-26");
    assert_eq!(asked(client("2025-06-18")).await, "2025-06-18");
    assert_eq!(asked(client("2025-11-25")).await, "2025-11-25");
    assert_eq!(
        asked(client("2026-07-28")).await,
        "2025-11-25",
        "rmcp asks for this and takes that"
    );
    assert_eq!(asked(client("2024-11-05")).await, "2025-11-25");
    let headers = [("content-type", "application/json"), ("accept", "*/*")];
    let body = r#"{"jsonrpc":"2.0","id":"1","method":"initialize"}"#;
    let result = gateway.client().post(&headers, body).await.result();
    assert_eq!(result["protocolVersion"], "2025-03-26");
    assert_eq!(result["capabilities"]["tools"], json!({"call": true, "list": true}));
    assert_eq!(result["serverInfo"]["name"], "baton");
}

// Legacy clients die of any other status, and know none of the new codes.
#[tokio::test]
async fn legacy_errors_are_http_200() {
    let gateway = gateway();
    let answer = gateway.client().legacy("unknown/method", json!({})).await;
    refused(&answer, 200, -32601);
    let answer = gateway.client().legacy("tools/call", json!({"arguments": {}})).await;
    refused(&answer, 200, -32602);
    let answer = gateway.client().legacy("ping", json!({})).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.result().get("resultType"), None);
}

#[tokio::test]
async fn probes_and_metrics_answer() {
    let gateway = gateway();
    for path in ["/livez", "/readyz"] {
        let answer = gateway.internal(path).send("GET", &[], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    gateway.client().succeed("whoami", json!({})).await;
    let metrics = gateway.internal("/metrics").send("GET", &[], "").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains(r#"gen_ai_tool_name="whoami""#), "{text}");
    let base = gateway.url.strip_suffix("/mcp").unwrap();
    let health = McpClient::new(&format!("{base}/health")).send("GET", &[], "").await;
    assert_eq!(health.status, StatusCode::OK);
    assert_eq!(health.header("baton-replica"), String::from_utf8_lossy(&health.body).trim().into());
    let nowhere = McpClient::new(&format!("{base}/nowhere")).send("GET", &[], "").await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
}
