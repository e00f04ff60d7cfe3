//! Other MCP servers behind the gateway, in the modern era: what reaches them, and what comes back.

#![expect(clippy::unwrap_used, reason = "a test whose upstream does not start has failed")]

use std::sync::Arc;
use std::time::Duration;

use baton::gateway::{
    Config, Network, ToolChoice, Upstream, UpstreamName, UpstreamSet, UpstreamTimeouts,
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::cluster::{RunningGateway, config, embedded, eventually, keys};
use crate::mcp_client::{McpClient, Modern};
use crate::upstream_server::{Answer, Gate, UpstreamServer, tool};

/// Two keys of one tenant, two subjects.
pub const KEYS: [(&str, &str, &str); 2] =
    [("tests-key-one", "t", "one"), ("tests-key-two", "t", "two")];

/// An upstream's table that names nothing but where it is.
pub fn upstream(name: &str, server: &UpstreamServer) -> Upstream {
    upstream_at(name, &server.url())
}

/// The same for any URL.
pub fn upstream_at(name: &str, url: &str) -> Upstream {
    let named = Upstream::new(UpstreamName::parse(name).unwrap(), vec![url.parse().unwrap()]);
    let timeouts = UpstreamTimeouts { list: Duration::from_secs(2), ..named.timeouts };
    Upstream { private_networks: vec![Network::parse("127.0.0.1").unwrap()], timeouts, ..named }
}

/// A set of upstreams, and what changes it.
pub fn set(all: impl IntoIterator<Item = Upstream>) -> watch::Sender<UpstreamSet> {
    watch::Sender::new(all.into_iter().map(Arc::new).collect())
}

/// A gateway with these upstreams and no tools of its own.
pub fn gateway(set: &watch::Sender<UpstreamSet>, bend: impl FnOnce(&mut Config)) -> RunningGateway {
    let tools = ToolChoice { environments: false, samples: false };
    let mut config = Config { upstreams: set.subscribe(), tools, ..config(embedded()) };
    bend(&mut config);
    RunningGateway::start(config)
}

/// What the items of a list are called.
pub fn names(list: &Value, kind: &str) -> Vec<String> {
    let items = list[kind].as_array().unwrap();
    items.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

/// What the tools are called that a client is offered.
pub async fn tools(client: &McpClient) -> Vec<String> {
    names(&client.modern("tools/list", json!({})).await.result(), "tools")
}

#[tokio::test]
async fn a_call_arrives_as_it_was_but_for_what_has_to_change() {
    let server = UpstreamServer::modern().await;
    let secret = vec![("x-upstream-key".parse().unwrap(), "of the gateway".parse().unwrap())];
    let set =
        set([Upstream { prefix: "up_".to_owned(), headers: secret, ..upstream("u", &server) }]);
    let gateway = gateway(&set, |config| config.credentials = keys(&KEYS));
    let client = gateway.client().with_key(KEYS[0].0);
    let mut call = Modern::new(
        "tools/call",
        json!({
            "name": "up_echo",
            "arguments": {"z": 1.50, "a": [9_007_199_254_740_993_u64], "deep": {"null": null}},
            "newer": {"than": "us"},
            "_meta": {"progressToken": 1, "com.example/key": "v", "traceparent": TRACE},
        }),
    );
    call = call.with_header("cookie", Some("of=the-client"));
    call = call.with_header("idempotency-key", Some("k-1"));
    call = call.with_header("mcp-param-other", Some("=?base64?w7w=?="));
    let body = call.body().replace("1.5}", "1.50}");
    let answer = client.post(&call.headers(), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let [arrived] = server.wait_for("tools/call", 1).await.try_into().unwrap();
    let text = std::str::from_utf8(&arrived.bytes).unwrap();
    assert!(text.contains(r#""z":1.50"#) && text.contains("9007199254740993"), "{text}");
    assert_eq!(arrived.params()["name"], "echo");
    assert_eq!(arrived.params()["newer"], json!({"than": "us"}));
    assert_eq!(arrived.meta("com.example/key"), "v");
    assert_eq!(arrived.meta("io.modelcontextprotocol/clientInfo")["name"], "it");
    assert!(arrived.meta("traceparent").as_str().unwrap().starts_with(&TRACE[..35]));
    for (header, value) in [
        ("mcp-name", Some("echo")),
        ("mcp-method", Some("tools/call")),
        ("mcp-protocol-version", Some("2026-07-28")),
        ("mcp-param-other", Some("=?base64?w7w=?=")),
        ("x-upstream-key", Some("of the gateway")),
        ("idempotency-key", Some("k-1")),
        ("cookie", None),
        ("x-ms-apikey", None),
    ] {
        assert_eq!(arrived.header(header), value, "{header}");
    }
    assert!(arrived.header("traceparent").is_none_or(|it| it.starts_with(&TRACE[..35])));
    // The client's own begin at 1 in every client.
    assert_ne!(arrived.id(), &json!(1));
    assert_eq!(arrived.meta("progressToken"), arrived.id());
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn what_an_upstream_tells_while_it_works_reaches_the_client_at_once() {
    let server = UpstreamServer::modern().await;
    let gate = Gate::new();
    let held = gate.clone();
    server.on("tools/call", move |_| {
        let told = Answer::stream().progress(0, 2).log("info", "half");
        told.gate(&held).progress(1, 2).finish(json!({"content": [], "x": {"y": 1}}))
    });
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let meta = json!({"progressToken": "a", "io.modelcontextprotocol/logLevel": "info"});
    let call = Modern::new("tools/call", json!({"name": "echo", "_meta": meta}));
    let mut messages = gateway.client().open(&call).await;
    let first = messages.next().await.unwrap();
    assert_eq!(first["params"]["progressToken"], "a", "{first}");
    assert_eq!(messages.next().await.unwrap()["method"], "notifications/message");
    gate.open();
    assert_eq!(messages.next().await.unwrap()["params"]["progress"], 1);
    let last = messages.next().await.unwrap();
    assert_eq!((&last["id"], &last["result"]["x"]), (&json!(1), &json!({"y": 1})), "{last}");
    assert_eq!(messages.next().await, None);

    // logging, "Per-request log level": nothing for who did not ask.
    let meta = json!({"progressToken": 7});
    let call = Modern::new("tools/call", json!({"name": "echo", "_meta": meta}));
    let mut messages = gateway.client().open(&call).await;
    for progress in [0, 1] {
        let told = messages.next().await.unwrap();
        assert_eq!(told["params"]["progress"], progress, "{told}");
        assert_eq!(told["params"]["progressToken"], 7, "{told}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_an_upstream_that_is_left() {
    let server = UpstreamServer::modern().await;
    let gate = Gate::new();
    server.on("tools/call", move |_| Answer::stream().progress(0, 1).gate(&gate).finish(json!({})));
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let call = Modern::new("tools/call", json!({"name": "echo", "_meta": {"progressToken": 1}}));
    let mut messages = gateway.client().open(&call).await;
    messages.next().await.unwrap();
    drop(messages);
    eventually(async || server.abandoned("tools/call") == 1).await;
}

#[tokio::test]
async fn an_upstreams_own_error_goes_to_the_client_with_its_status() {
    let server = UpstreamServer::modern().await;
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let check = async |answer: fn() -> Answer, status: u16, code: i64| {
        server.on("tools/call", move |_| answer());
        let answer = gateway.client().modern("tools/call", json!({"name": "echo"})).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let error = answer.error();
        assert_eq!(error["code"], code, "{error}");
        error
    };
    let refused = || {
        let data = json!({"requiredCapabilities": {"sampling": {}}});
        Answer::error_with(-32021, "needs sampling", data).status(StatusCode::BAD_REQUEST)
    };
    let error = check(refused, 400, -32021).await;
    assert_eq!(error["data"], json!({"requiredCapabilities": {"sampling": {}}}));
    check(|| Answer::error(-32602, "no such tool"), 200, -32602).await;
    // What is about the gateway itself is not the client's.
    let unauthorized = || Answer::error(-32600, "who?").status(StatusCode::UNAUTHORIZED);
    check(unauthorized, 503, 50304).await;
    // A call whose answer is lost may have been acted upon, and is not made again.
    let before = server.received_of("tools/call").len();
    let error = check(Answer::cut_off, 200, 50201).await;
    assert_eq!(error["data"]["executed"], "maybe");
    check(|| Answer::half("application/json", "{"), 200, 50201).await;
    check(|| Answer::bytes("text/html", "<p>"), 200, 50201).await;
    check(|| Answer::message(json!({"jsonrpc": "2.0", "id": 0, "result": {}})), 200, 50201).await;
    assert_eq!(server.received_of("tools/call").len(), before + 4);
}

#[tokio::test]
async fn lists_are_merged_and_the_first_of_equal_names_serves() {
    let (low, high) = (UpstreamServer::modern().await, UpstreamServer::modern().await);
    low.offer(&[tool("both"), tool("low")]);
    high.offer(&[tool("both"), tool("hidden"), tool("high")]);
    let mut preferred = Upstream { priority: 1, ..upstream("high", &high) };
    preferred.tools.deny = vec!["hid*".to_owned()];
    let gateway = gateway(&set([upstream("low", &low), preferred]), |_| {});
    let client = gateway.client();
    assert_eq!(tools(&client).await, ["both", "high", "low"]);
    client.tool("both", json!({})).await;
    client.tool("low", json!({})).await;
    assert_eq!(high.received_of("tools/call").len(), 1);
    assert_eq!(low.received_of("tools/call").len(), 1);
    // Only one may have it now, and says for itself that it does not.
    low.on("tools/call", |_| Answer::error(-32602, "Unknown tool"));
    let hidden = client.modern("tools/call", json!({"name": "hidden"})).await;
    assert_eq!(hidden.error()["code"], -32602);
    assert_eq!(high.received_of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_long_list_comes_in_pages_whoever_is_asked() {
    let server = UpstreamServer::modern().await;
    let all: Vec<Value> = (0..1203).map(|number| tool(&format!("t{number}"))).collect();
    server.offer(&all);
    let set = set([upstream("u", &server)]);
    let two = |config: &mut Config| config.credentials = keys(&KEYS);
    let replicas = [gateway(&set, two), gateway(&set, two)];
    let client = |at: usize| replicas[at % 2].client().with_key(KEYS[0].0);
    let mut found = Vec::new();
    let mut cursor = None::<String>;
    for page in 0.. {
        let params = cursor.as_ref().map_or(json!({}), |it| json!({"cursor": it}));
        let result = client(page).modern("tools/list", params).await.result();
        found.extend(names(&result, "tools"));
        match result["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(found.len(), 1203);
    assert_eq!(found[1202], "t1202");
    // A cursor is one caller's, for one list.
    let params = json!({"cursor": cursor.unwrap()});
    let foreign =
        replicas[0].client().with_key(KEYS[1].0).modern("tools/list", params.clone()).await;
    assert_eq!(foreign.error()["code"], -32602);
    let other = client(0).modern("prompts/list", params).await;
    assert_eq!(other.error()["code"], -32602);
}

#[tokio::test]
async fn an_upstream_that_is_down_takes_nothing_with_it() {
    let (well, ill) = (UpstreamServer::modern().await, UpstreamServer::modern().await);
    well.offer(&[tool("well")]);
    ill.offer(&[tool("ill")]);
    // Its list has to be fetched anew each time.
    let always = || json!({"tools": [tool("ill")], "ttlMs": 0, "cacheScope": "public"});
    ill.on("tools/list", move |_| Answer::result(always()));
    let gateway = gateway(&set([upstream("well", &well), upstream("ill", &ill)]), |_| {});
    let client = gateway.client();
    assert_eq!(tools(&client).await, ["well", "ill"]);
    ill.refuse_connections().await;
    assert_eq!(tools(&client).await, ["well", "ill"], "from its last answer");
    client.tool("well", json!({})).await;
    let failed = client.modern("tools/call", json!({"name": "ill"})).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    let error = failed.error();
    assert_eq!(
        (&error["code"], &error["data"]["executed"]),
        (&json!(50304), &json!("no")),
        "{error}"
    );
    assert!(error["message"].as_str().unwrap().contains("ill"), "{error}");
    ill.accept_connections().await;
    eventually(async || {
        client.modern("tools/call", json!({"name": "ill"})).await.status == StatusCode::OK
    })
    .await;
}

#[tokio::test]
async fn a_changed_list_is_fetched_again() {
    let server = UpstreamServer::modern().await;
    let listed = json!({"tools": [tool("old")], "ttlMs": 600_000, "cacheScope": "public"});
    server.on("tools/list", move |_| Answer::result(listed.clone()));
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let client = gateway.client();
    assert_eq!(tools(&client).await, ["old"]);
    assert_eq!(tools(&client).await, ["old"]);
    assert_eq!(server.received_of("tools/list").len(), 1, "it is fresh");
    eventually(async || server.streams() == 1).await;
    server.offer(&[tool("new")]);
    server.notify("notifications/tools/list_changed", &json!({}));
    eventually(async || tools(&client).await == ["new"]).await;
}

#[tokio::test]
async fn private_lists_are_kept_apart() {
    let server = UpstreamServer::modern().await;
    let counter = std::sync::atomic::AtomicUsize::new(0);
    server.on("tools/list", move |_| {
        let number = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let tools = json!([tool(&format!("t{number}"))]);
        Answer::result(json!({"tools": tools, "ttlMs": 600_000, "cacheScope": "private"}))
    });
    let gateway =
        gateway(&set([upstream("u", &server)]), |config| config.credentials = keys(&KEYS));
    let [one, two] = KEYS.map(|(key, _, _)| gateway.client().with_key(key));
    let first = one.modern("tools/list", json!({})).await.result();
    assert_eq!(first["cacheScope"], "private");
    let ones = names(&first, "tools");
    let twos = tools(&two).await;
    assert_ne!(ones, twos);
    assert_eq!((tools(&one).await, tools(&two).await), (ones, twos));
}

#[tokio::test]
async fn a_request_state_is_good_for_its_request_and_caller_at_any_replica() {
    let server = UpstreamServer::modern().await;
    server.on("tools/call", |request| {
        if request.params()["requestState"] == "theirs" {
            return Answer::result(json!({"content": []}));
        }
        Answer::result(json!({"resultType": "input_required", "requestState": "theirs", "z": 1}))
    });
    let set = set([upstream("u", &server)]);
    let two = |config: &mut Config| config.credentials = keys(&KEYS);
    let replicas = [gateway(&set, two), gateway(&set, two)];
    let [one, other] = KEYS.map(|(key, _, _)| replicas[1].client().with_key(key));
    let asked = |more: Value| {
        let mut params = json!({"name": "echo", "arguments": {"a": 1, "b": 2}});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let first =
        replicas[0].client().with_key(KEYS[0].0).modern("tools/call", asked(json!({}))).await;
    let first = first.result();
    assert_eq!(
        (&first["resultType"], &first["z"]),
        (&json!("input_required"), &json!(1)),
        "{first}"
    );
    let state = first["requestState"].as_str().unwrap().to_owned();
    assert!(state.starts_with("bts_"), "{state}");
    let with = |state: &str| asked(json!({"requestState": state}));
    let (most, last) = state.split_at(state.len() - 1);
    let altered = format!("{most}{}", if last == "A" { "B" } else { "A" });
    assert_eq!(one.modern("tools/call", with(&state)).await.result()["resultType"], "complete");
    for (client, params) in [
        (&other, with(&state)),
        (&one, with("theirs")),
        (&one, with(&altered)),
        (&one, asked(json!({"requestState": state, "arguments": {"a": 1, "b": 3}}))),
    ] {
        let refused = client.modern("tools/call", params).await;
        assert_eq!(refused.error()["code"], -32602, "{refused:?}");
    }
    assert_eq!(server.received_of("tools/call").len(), 2);
}

#[tokio::test]
async fn a_legacy_client_hears_a_modern_upstream_in_its_own_words() {
    let server = UpstreamServer::modern().await;
    let modern_only = json!({"content": [], "structuredContent": [1], "ttlMs": 5});
    server.on("tools/call", move |_| Answer::result(modern_only.clone()));
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let client = gateway.client();
    let asked = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    let shaken = client.legacy("initialize", asked).await.result();
    assert_eq!(shaken["capabilities"]["prompts"], json!({}), "{shaken}");
    let called = json!({"name": "echo", "_meta": {"com.example/key": 1}});
    let result = client.legacy("tools/call", called).await.result();
    let members: Vec<&String> = result.as_object().unwrap().keys().collect();
    assert_eq!(members, ["_meta", "content"], "{result}");
    let [arrived] = server.wait_for("tools/call", 1).await.try_into().unwrap();
    assert_eq!(arrived.meta("io.modelcontextprotocol/protocolVersion"), "2026-07-28");
    assert_eq!(arrived.meta("io.modelcontextprotocol/clientInfo")["name"], "baton");
    assert_eq!(arrived.meta("com.example/key"), 1);
    // It could not bring what a modern client is asked for.
    let input = json!({"resultType": "input_required", "requestState": "s"});
    server.on("tools/call", move |_| Answer::result(input.clone()));
    let refused = client.legacy("tools/call", json!({"name": "echo"})).await;
    assert_eq!((refused.status, &refused.error()["code"]), (StatusCode::OK, &json!(50304)));
    let modern = || Answer::error(-32021, "needs sampling").status(StatusCode::BAD_REQUEST);
    server.on("tools/call", move |_| modern());
    let refused = client.legacy("tools/call", json!({"name": "echo"})).await;
    assert_eq!((refused.status, &refused.error()["code"]), (StatusCode::OK, &json!(-32600)));
}

#[tokio::test]
async fn prompts_resources_and_completions_find_their_server() {
    let (one, two) = (UpstreamServer::modern().await, UpstreamServer::modern().await);
    two.on("resources/list", |_| Answer::result(json!({"resources": []})));
    let template = json!([{"uriTemplate": "two://{id}", "name": "t"}]);
    two.on("resources/templates/list", move |_| {
        Answer::result(json!({"resourceTemplates": template}))
    });
    let prefixed = Upstream { prefix: "two_".to_owned(), ..upstream("two", &two) };
    let gateway = gateway(&set([upstream("one", &one), prefixed]), |_| {});
    let client = gateway.client();
    let listed = client.modern("prompts/list", json!({})).await.result();
    assert_eq!(names(&listed, "prompts"), ["greeting", "two_greeting"]);
    client.modern("prompts/get", json!({"name": "two_greeting"})).await.result();
    assert_eq!(two.wait_for("prompts/get", 1).await[0].params()["name"], "greeting");
    let read = client.modern("resources/read", json!({"uri": "two://7"})).await.result();
    assert!(read["ttlMs"].is_u64() && read["cacheScope"].is_string(), "{read}");
    assert_eq!(two.wait_for("resources/read", 1).await[0].header("mcp-name"), Some("two://7"));
    client.modern("resources/read", json!({"uri": "test://text"})).await.result();
    assert_eq!(one.received_of("resources/read").len(), 1);
    let reference = json!({"type": "ref/prompt", "name": "two_greeting"});
    let argument = json!({"name": "a", "value": "b"});
    let params = json!({"ref": reference, "argument": argument});
    client.modern("completion/complete", params).await.result();
    let [completed] = two.wait_for("completion/complete", 1).await.try_into().unwrap();
    assert_eq!(completed.params()["ref"]["name"], "greeting");
    let unknown = client.modern("resources/read", json!({"uri": "nobody://x"})).await.error();
    let expected = (&json!(-32602), &json!("nobody://x"));
    assert_eq!((&unknown["code"], &unknown["data"]["uri"]), expected, "{unknown}");
    let unknown = client.modern("prompts/get", json!({"name": "two_other"})).await.error();
    assert_eq!(unknown["code"], -32602, "{unknown}");
}

/// An upstream whose tool wants an argument repeated in a header, and a gateway in front of it.
async fn mirroring() -> (UpstreamServer, RunningGateway) {
    let server = UpstreamServer::modern().await;
    let schema = json!({
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    });
    server.offer(&[json!({"name": "echo", "description": "e", "inputSchema": schema})]);
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    (server, gateway)
}

#[tokio::test]
async fn mirrored_arguments_are_held_to_the_listed_schema() {
    let (server, gateway) = mirroring().await;
    let client = gateway.client();
    let call = Modern::new("tools/call", json!({"name": "echo", "arguments": {"region": "eu"}}));
    tools(&client).await;
    let check = async |header: Option<&str>, status: u16| {
        let call = call.clone().with_header("mcp-param-region", header);
        let answer = client.post(&call.headers(), call.body()).await;
        assert_eq!(answer.status, status, "{header:?} {answer:?}");
    };
    check(Some("eu"), 200).await;
    check(Some("us"), 400).await;
    check(None, 400).await;
    assert_eq!(server.received_of("tools/call").len(), 1);
}

// streamable-http, "Client Behavior": whoever speaks to a modern server sends them.
#[tokio::test]
async fn a_legacy_client_s_arguments_are_mirrored_for_it() {
    let (server, gateway) = mirroring().await;
    let call = json!({"name": "echo", "arguments": {"region": "ü"}});
    gateway.client().legacy("tools/call", call).await.result();
    let [arrived] = server.wait_for("tools/call", 1).await.try_into().unwrap();
    assert_eq!(arrived.header("mcp-param-region"), Some("=?base64?w7w=?="));
}

#[tokio::test]
async fn a_new_set_takes_force_without_dropping_a_call() {
    let (old, new) = (UpstreamServer::modern().await, UpstreamServer::modern().await);
    new.offer(&[tool("new")]);
    let gate = Gate::new();
    let held = gate.clone();
    old.on("tools/call", move |_| {
        Answer::stream().progress(0, 1).gate(&held).finish(json!({"content": []}))
    });
    let set = set([upstream("u", &old)]);
    let gateway = gateway(&set, |_| {});
    let client = gateway.client();
    assert_eq!(tools(&client).await, ["echo"]);
    let call = Modern::new("tools/call", json!({"name": "echo", "_meta": {"progressToken": 1}}));
    let mut messages = client.open(&call).await;
    messages.next().await.unwrap();
    set.send_replace(Arc::from([Arc::new(upstream("u", &new))]));
    eventually(async || tools(&client).await == ["new"]).await;
    gate.open();
    assert!(messages.next().await.unwrap()["result"].is_object());
}
