//! The official Rust client lives through one environment, by both of its starts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::rmcp::model::{
    CallToolRequestParams, CallToolResult, ProgressNotificationParam, ProtocolVersion,
};
use ::rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, NotificationContext, RoleClient, RunningService,
    ServiceError,
};
use ::rmcp::transport::StreamableHttpClientTransport;
use ::rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use ::rmcp::{ClientHandler, Peer};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::cluster::{ALICE, Cluster};

#[tokio::test]
async fn its_default_start_lives_through_an_environment() {
    let cluster = Cluster::two_by_two().await;
    lives_through_an_environment(&cluster.gateways[0].url, Some(ALICE), Start::Initialize).await;
}

#[tokio::test]
async fn its_stateless_start_lives_through_an_environment() {
    let cluster = Cluster::two_by_two().await;
    lives_through_an_environment(&cluster.gateways[1].url, Some(ALICE), Start::Discover).await;
}

/// How the client opens: its default, or the stateless way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Initialize,
    Discover,
}

/// Panics with the first thing that is not as an agent needs it.
pub(crate) async fn lives_through_an_environment(url: &str, api_key: Option<&str>, start: Start) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let client = connect(url, api_key, start, Listener { seen: Arc::clone(&seen) }).await;
    let agent = client.peer();

    let mut names: Vec<_> = agent
        .list_all_tools()
        .await
        .expect("tools/list")
        .into_iter()
        .map(|tool| tool.name)
        .collect();
    names.sort();
    for tool in ["closeEnvironment", "launchPythonEnvironment", "launchShell", "listEnvironments"] {
        assert!(names.iter().any(|name| name == tool), "{tool} is not among {names:?}");
    }

    let launched = call(agent, "launchShell", json!({})).await;
    let environment = launched["environmentId"].as_str().expect("a handle").to_owned();

    python(agent, &environment, "carried = 41").await;
    let value = python(agent, &environment, "carried + 1").await;
    assert_eq!(value["executionResult"].as_str(), Some("42"), "{value}");

    let shell =
        json!({ "environmentId": environment, "execCommandAndArgs": ["printf", "%s|", "a b"] });
    assert_eq!(call(agent, "runShellCommandInRemoteEnvironment", shell).await["stdout"], "a b|");

    invented_environments_are_tool_errors(agent).await;
    unknown_tools_are_protocol_errors(agent).await;
    output_arrives_while_the_code_runs(agent, &environment, &seen).await;
    a_dropped_call_leaves_the_environment_usable(agent, &environment, start).await;

    call(agent, "closeEnvironment", json!({ "environmentId": environment })).await;
    let after =
        answer(agent, PYTHON, json!({ "environmentId": environment, "pythonCode": "1" })).await;
    assert_eq!(after.expect("a result").is_error, Some(true));
    client.cancel().await.expect("an orderly end");
}

const PYTHON: &str = "runPythonCodeInRemoteEnvironment";
type Seen = Arc<Mutex<Vec<(Instant, f64, String)>>>;
type Client = RunningService<RoleClient, Listener>;

async fn connect(url: &str, api_key: Option<&str>, start: Start, listener: Listener) -> Client {
    let mut headers = HashMap::new();
    if let Some(key) = api_key {
        let value = HeaderValue::from_str(key).expect("a key is a header value");
        headers.insert(HeaderName::from_static("x-ms-apikey"), value);
    }
    let config = StreamableHttpClientTransportConfig::with_uri(url).custom_headers(headers);
    let transport = StreamableHttpClientTransport::from_config(config);
    let lifecycle = match start {
        Start::Initialize => ClientLifecycleMode::Initialize,
        Start::Discover => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    };
    listener.serve_with_lifecycle(transport, lifecycle).await.expect("rmcp connects")
}

async fn invented_environments_are_tool_errors(agent: &Peer<RoleClient>) {
    let arguments = json!({ "environmentId": "my-session", "pythonCode": "1" });
    let refused = answer(agent, PYTHON, arguments).await.expect("a result, not a protocol error");
    assert_eq!(refused.is_error, Some(true));
    let said = serde_json::to_string(&refused.content).expect("content is JSON");
    assert!(said.contains("launchShell"), "the model is not told what to do: {said}");
}

async fn unknown_tools_are_protocol_errors(agent: &Peer<RoleClient>) {
    match answer(agent, "noSuchTool", json!({})).await {
        Err(ServiceError::McpError(error)) => assert_eq!(error.code.0, -32602, "{error:?}"),
        other => panic!("not a protocol error: {other:?}"),
    }
}

async fn output_arrives_while_the_code_runs(
    agent: &Peer<RoleClient>,
    environment: &str,
    seen: &Seen,
) {
    let code =
        "import time\nfor i in range(4):\n    print('line', i, flush=True)\n    time.sleep(0.5)";
    seen.lock().expect("no panic inside").clear();
    python(agent, environment, code).await;
    let ended = Instant::now();
    let seen = seen.lock().expect("no panic inside");
    let streamed: String = seen.iter().map(|(_, _, message)| message.as_str()).collect();
    assert!(streamed.contains("line 0") && streamed.contains("line 3"), "progress was {seen:?}");
    assert!(ended - seen[0].0 > Duration::from_secs(1), "the output came with the result");
    assert!(seen.is_sorted_by(|one, next| one.1 < next.1), "progress must rise: {seen:?}");
}

/// Dropping the call closes a modern stream, which cancels; a legacy call runs on to its own limit.
async fn a_dropped_call_leaves_the_environment_usable(
    agent: &Peer<RoleClient>,
    environment: &str,
    start: Start,
) {
    let limit = if start == Start::Discover { 30 } else { 4 };
    let code = "import time\ntime.sleep(30)";
    let arguments =
        json!({ "environmentId": environment, "pythonCode": code, "timeoutSeconds": limit });
    let dropped =
        tokio::time::timeout(Duration::from_secs(1), answer(agent, PYTHON, arguments)).await;
    assert!(dropped.is_err(), "it was over at once: {dropped:?}");

    let began = Instant::now();
    let value = python(agent, environment, "carried").await;
    assert_eq!(value["executionResult"].as_str(), Some("41"), "{value}");
    assert!(began.elapsed() < Duration::from_secs(8), "the next call waited {:?}", began.elapsed());
}

async fn python(agent: &Peer<RoleClient>, environment: &str, code: &str) -> Value {
    call(agent, PYTHON, json!({ "environmentId": environment, "pythonCode": code })).await
}

/// The structured content of a call that must succeed.
async fn call(agent: &Peer<RoleClient>, tool: &'static str, arguments: Value) -> Value {
    let result = answer(agent, tool, arguments).await.expect("a result");
    assert_ne!(result.is_error, Some(true), "{tool}: {result:?}");
    result.structured_content.expect("structured content")
}

async fn answer(
    agent: &Peer<RoleClient>,
    tool: &'static str,
    arguments: Value,
) -> Result<CallToolResult, ServiceError> {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    agent.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await
}

/// Notes each progress notification; rmcp asks for them on every request by itself.
#[derive(Clone, Debug)]
struct Listener {
    seen: Seen,
}

impl ClientHandler for Listener {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        let message = params.message.unwrap_or_default();
        self.seen.lock().expect("no panic inside").push((Instant::now(), params.progress, message));
    }
}
