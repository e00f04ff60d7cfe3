//! One trace from the client to the code in the sandbox, as a collector sees it.

#![expect(clippy::unwrap_used, reason = "a test whose span lacks a member has failed")]

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use crate::cluster::{ALICE, Cluster, RunningGateway, config, embedded, eventually};
use crate::collector::{Seen, Traced};
use crate::mcp_client::{McpClient, Modern};

const PYTHON: &str = "runPythonCodeInRemoteEnvironment";
const SHELL: &str = "runShellCommandInRemoteEnvironment";
/// The caller's spans, in `_meta` and in the HTTP headers.
const META: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const HTTP: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "vendor=a:1,other@x=2";
const BAGGAGE: &str = "user=a%20b;p=1, run=7";

/// A call of a tool, traced from its client.
fn call(tool: &str, arguments: &Value, meta: &Value) -> Modern {
    Modern::new("tools/call", json!({"name": tool, "arguments": arguments, "_meta": meta}))
}

async fn post(client: &McpClient, call: &Modern) -> crate::mcp_client::Answer {
    client.post(&call.headers(), call.body()).await
}

/// The `n`th trace that a client begins.
fn traceparent(n: u8) -> String {
    format!("00-{}{n:02x}-b7ad6b7169203331-01", "5".repeat(30))
}

/// The one span of this name.
fn named<'a>(spans: &'a [Seen], name: &str) -> &'a Seen {
    let mut found = spans.iter().filter(|it| it.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no {name} among {spans:#?}"));
    assert!(found.next().is_none(), "two of {name}: {spans:#?}");
    span
}

/// Checks client → gateway → worker, and returns the worker's span.
fn chain<'a>(spans: &'a [Seen], tool: &str, parent: &str) -> &'a Seen {
    let server = named(spans, &format!("tools/call {tool}"));
    assert_eq!((server.kind, server.service.as_str()), (SpanKind::Server, "baton-gateway"));
    assert_eq!((server.trace.as_str(), server.parent.as_str()), (&parent[3..35], &parent[36..52]));
    let client = named(spans, &format!("worker {tool}"));
    assert_eq!((client.kind, client.service.as_str()), (SpanKind::Client, "baton-gateway"));
    assert_eq!((&client.parent, &client.instance), (&server.id, &server.instance));
    let worker = named(spans, "worker execute");
    assert_eq!((worker.kind, worker.service.as_str()), (SpanKind::Server, "baton-worker"));
    assert_eq!((&worker.parent, worker.instance.as_str()), (&client.id, "w1"));
    worker
}

const SHOW: &str = "import os\n' '.join(repr(os.environ.get(it)) for it in ('TRACEPARENT', 'TRACESTATE', 'BAGGAGE'))";

#[tokio::test]
async fn one_trace_leads_from_the_client_into_the_sandbox() {
    let traced = Traced::start(2).await;
    let id = traced.client(0).launch().await;
    let meta = json!({"traceparent": META, "tracestate": STATE, "baggage": BAGGAGE});
    let python = call(PYTHON, &json!({"environmentId": id, "pythonCode": SHOW}), &meta);
    let python = python.with_header("traceparent", Some(HTTP));
    let answer = post(&traced.client(1), &python).await.result();
    let spans = traced.collector.trace(META, 3).await;
    let worker = chain(&spans, PYTHON, META);
    let inside = format!("00-{}-{}-01", &META[3..35], worker.id);
    let shown = answer["structuredContent"]["executionResult"].as_str().unwrap();
    assert_eq!(shown, format!("\"'{inside}' '{STATE}' '{BAGGAGE}'\""));
    assert!(spans.iter().all(|it| it.state == STATE && it.error.is_none()), "{spans:#?}");
    let server = named(&spans, &format!("tools/call {PYTHON}"));
    assert_eq!(server.links, [(HTTP[3..35].to_owned(), HTTP[36..52].to_owned())]);
    assert!(answer["_meta"]["dev.baton/servedBy"] == *server.instance, "{answer}");

    // Without a context in `_meta`, the one of HTTP is the parent.
    let arguments =
        json!({"environmentId": id, "shellCommand": "echo $TRACEPARENT $TRACESTATE $BAGGAGE"});
    let shell = call(SHELL, &arguments, &json!({}))
        .with_header("traceparent", Some(HTTP))
        .with_header("tracestate", Some(STATE))
        .with_header("baggage", Some(BAGGAGE));
    let answer = post(&traced.client(0), &shell).await.result();
    let spans = traced.collector.trace(HTTP, 3).await;
    let worker = chain(&spans, SHELL, HTTP);
    let inside =
        format!("00-{}-{} {STATE} {BAGGAGE}\n", &HTTP[3..35], format_args!("{}-01", worker.id));
    assert_eq!(answer["structuredContent"]["stdout"], inside);
    assert!(spans.iter().all(|it| it.links.is_empty()));
}

#[tokio::test]
async fn errors_have_a_type_and_nothing_else_has() {
    let traced = Traced::start(1).await;
    let client = traced.client(0);
    let id = client.launch().await;
    let python = |code: &str| json!({"environmentId": id, "pythonCode": code});
    let shell = json!({"environmentId": id, "shellCommand": "exit 3"});
    // The tool and its arguments, how many spans there are, and the types of the server's and the client's error.
    let cases = [
        (PYTHON, python("1"), 3, None, None),
        (PYTHON, python("1/0"), 3, Some("tool_error"), Some("tool_error")),
        (SHELL, shell, 3, None, None),
        (SHELL, json!({"environmentId": "none"}), 2, Some("tool_error"), Some("tool_error")),
        ("whoami", json!({}), 1, None, None),
        ("lookup_fact", json!({}), 1, Some("tool_error"), None),
        ("invented", json!({}), 1, Some("-32602"), None),
    ];
    for (n, (tool, arguments, count, of_server, of_client)) in (0..).zip(cases) {
        let parent = traceparent(n);
        post(&client, &call(tool, &arguments, &json!({"traceparent": parent}))).await;
        let spans = traced.collector.trace(&parent, count).await;
        let of = |kind| spans.iter().find(|it| it.kind == kind && it.service == "baton-gateway");
        let server = of(SpanKind::Server).unwrap();
        assert_eq!(server.error.as_deref(), of_server, "{tool} {arguments}");
        assert_eq!(
            server.code.is_some(),
            of_server.is_some_and(|it| it != "tool_error"),
            "{server:?}"
        );
        let error = of(SpanKind::Client).and_then(|it| it.error.as_deref());
        assert_eq!(error, of_client, "{tool} {arguments}");
        assert_eq!(
            of(SpanKind::Client).is_some(),
            count > 1,
            "a client's span where a worker is called"
        );
        let worker = spans.iter().find(|it| it.service == "baton-worker");
        assert!(worker.is_none_or(|it| it.error.is_none()), "the worker did as it was told");
    }

    let alone = {
        let mut config = config(embedded());
        let telemetry = traced.collector.telemetry("baton-gateway", "alone");
        config.tracer = telemetry.tracer();
        (RunningGateway::start(config), telemetry)
    };
    let parent = traceparent(100);
    post(&alone.0.client(), &call("launchShell", &json!({}), &json!({"traceparent": parent})))
        .await;
    let spans = traced.collector.trace(&parent, 2).await;
    for span in &spans {
        assert_eq!(span.error.as_deref(), Some("50302"), "{span:?}");
    }
    assert_eq!(named(&spans, "tools/call launchShell").code.as_deref(), Some("50302"));
}

#[tokio::test]
async fn what_a_gateway_asks_of_workers_for_a_call_is_in_its_trace() {
    let mut traced = Traced::start(2).await;
    let id = traced.client(0).launch().await;
    traced.cluster.redis.kill();
    let shell = |line: &str| json!({"environmentId": id, "shellCommand": line});
    let send = async |n: u8, tool: &str, arguments: Value| {
        let parent = traceparent(n);
        post(&traced.client(1), &call(tool, &arguments, &json!({"traceparent": parent}))).await;
        parent
    };
    let parent = send(1, SHELL, shell("true")).await;
    let spans = traced.collector.trace(&parent, 4).await;
    let worker = chain(&spans, SHELL, &parent);
    assert_eq!(named(&spans, "worker find").parent, worker.parent, "it never saw the environment");

    let parent = send(2, "listEnvironments", json!({})).await;
    let spans = traced.collector.trace(&parent, 3).await;
    assert_eq!(named(&spans, "worker list").parent, named(&spans, "worker listEnvironments").id);

    let began = traced.cluster.workspace("w1", &id).join("began");
    tokio::select! {
        biased;
        () = eventually(async || began.exists()) => {}
        _ = send(3, SHELL, shell("touch began; sleep 20")) => panic!("it ended by itself"),
    }
    let spans = traced.collector.trace(&traceparent(3), 4).await;
    let left = named(&spans, &format!("tools/call {SHELL}"));
    assert_eq!(left.error.as_deref(), Some("cancelled"));
    assert_eq!(named(&spans, "worker cancel").parent, named(&spans, &format!("worker {SHELL}")).id);

    let all = traced.collector.until(|it| it.name == "worker cancel").await;
    let lost = all.iter().find(|it| it.service == "baton-worker" && it.parent.is_empty());
    assert!(lost.is_none(), "a worker's span without a gateway's: {lost:?}");
    for exporter in traced.exporters {
        assert_eq!(exporter.span_counts().failed(), 0);
    }
}

#[tokio::test]
async fn with_export_off_the_callers_context_still_reaches_the_sandbox() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let client = cluster.client(0, ALICE);
    let id = client.launch().await;
    let arguments = json!({"environmentId": id, "pythonCode": SHOW});
    let shown = async |call: Modern| {
        let answer = post(&client, &call).await.result();
        answer["structuredContent"]["executionResult"].as_str().unwrap().to_owned()
    };
    let meta = json!({"traceparent": META, "tracestate": STATE, "baggage": BAGGAGE});
    let from_meta = call(PYTHON, &arguments, &meta).with_header("traceparent", Some(HTTP));
    assert_eq!(shown(from_meta).await, format!("\"'{META}' '{STATE}' '{BAGGAGE}'\""));
    let from_http = call(PYTHON, &arguments, &json!({})).with_header("traceparent", Some(HTTP));
    assert_eq!(shown(from_http).await, format!("\"'{HTTP}' None None\""));
    let neither = call(PYTHON, &arguments, &json!({}));
    assert_eq!(shown(neither).await, "'None None None'");
}
