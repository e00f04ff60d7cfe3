//! Nothing accepted is lost while shutting down.

#![expect(clippy::unwrap_used, reason = "a test whose answer lacks a member has failed")]

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use baton::serve::DrainTimings;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::{
    ALICE, Cluster, RunningGateway, RunningWorker, Scratch, alice, config, embedded,
    environment_id, eventually, workers_heard, workspace,
};
use crate::mcp_client::{McpClient, Modern};
use crate::program::Program;

fn shell(environment: &str, line: &str) -> Value {
    let arguments = json!({"environmentId": environment, "shellCommand": line});
    json!({"name": "runShellCommandInRemoteEnvironment", "arguments": arguments})
}

/// Whether somebody listens where this URL leads.
async fn listens(url: &str) -> bool {
    let authority = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    TcpStream::connect(authority).await.is_ok()
}

#[tokio::test]
async fn a_gateway_that_leaves_finishes_calls_and_streams_and_takes_nothing_new() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let timings =
        DrainTimings { not_ready: Duration::from_millis(500), in_flight: Duration::from_secs(10) };
    let gateway = RunningGateway::start_with(cluster.gateway_config().await, timings);
    eventually(async || gateway.workers().await == 1).await;
    let client = gateway.client().with_key(ALICE);
    let (plain, streamed) = (client.launch().await, client.launch().await);
    let began = |id: &str| cluster.workspace("w1", id).join("began");
    let (url, internal_url) = (gateway.url.clone(), gateway.internal_url.clone());

    let json = async {
        let call = Modern::new("tools/call", shell(&plain, "touch began; sleep 2; echo finished"));
        let call = call.with_header("accept", Some("application/json"));
        client.post(&call.headers(), call.body()).await
    };
    let stream = async {
        let mut call =
            shell(&streamed, "touch began; for n in 1 2 3 4; do echo $n; sleep 0.5; done");
        call["_meta"] = json!({"progressToken": 1});
        client.modern("tools/call", call).await
    };
    let leaving = async {
        eventually(async || began(&plain).exists() && began(&streamed).exists()).await;
        gateway.begin_drain();
        let ready = McpClient::new(&format!("{internal_url}/readyz")).send("GET", &[], "").await;
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "at once");
        // Load balancers have not noticed yet.
        client.at(&url).succeed("whoami", json!({})).await;
        eventually(async || !listens(&url).await).await;
        let cut = gateway.stop().await;
        assert_eq!(cut, 0, "connections were cut");
        Instant::now()
    };
    let answered = async {
        let answers = tokio::join!(json, stream);
        (answers, Instant::now())
    };
    let (((json, stream), answered), left) = tokio::join!(answered, leaving);
    assert_eq!(json.result()["structuredContent"]["stdout"], "finished\n");
    assert_eq!(stream.header("content-type"), Some("text/event-stream"));
    assert_eq!(stream.result()["structuredContent"]["stdout"], "1\n2\n3\n4\n");
    assert!(left + Duration::from_millis(200) > answered, "it left before it had answered");
    assert!(!listens(&internal_url).await);
}

/// A client that sends one request after the other until it cannot connect.
struct Caller {
    gateway: SocketAddr,
    /// Whether its connections are for more than one request.
    stays: bool,
    answered: Arc<AtomicUsize>,
}

impl Caller {
    /// Returns what became of requests that were sent and not answered.
    fn call_until_refused(&self) -> Vec<String> {
        let (mut kept, mut lost) = (None, Vec::new());
        loop {
            let known = kept.take().map_or_else(|| self.connect(), Ok);
            // Nothing was sent: any other gateway may have it.
            let Ok(mut socket) = known else { return lost };
            match self.exchange(&mut socket) {
                Ok(head) => {
                    self.answered.fetch_add(1, Relaxed);
                    kept = (self.stays && !head.contains("connection: close")).then_some(socket);
                }
                Err(error) => lost.push(error),
            }
        }
    }

    fn connect(&self) -> std::io::Result<std::net::TcpStream> {
        std::net::TcpStream::connect_timeout(&self.gateway, Duration::from_millis(300))
    }

    fn exchange(&self, socket: &mut std::net::TcpStream) -> Result<String, String> {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let connection = if self.stays { "keep-alive" } else { "close" };
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\nContent-Length: {}\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).map_err(|error| format!("sending: {error}"))?;
        let (mut answer, mut buffer) = (String::new(), [0; 4096]);
        while !answer.ends_with('}') {
            match socket.read(&mut buffer) {
                Ok(0) => return Err(format!("closed after {answer:?}")),
                Ok(size) => answer.push_str(str::from_utf8(&buffer[..size]).unwrap()),
                Err(error) => return Err(format!("reading: {error}")),
            }
        }
        if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer) }
    }
}

#[tokio::test]
async fn no_request_is_lost_that_a_client_could_send_while_a_gateway_left() {
    for not_ready in [0, 20, 0, 20, 0] {
        let not_ready = Duration::from_millis(not_ready);
        let timings = DrainTimings { not_ready, in_flight: Duration::from_secs(10) };
        let gateway = RunningGateway::start_with(config(embedded()), timings);
        let address = gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap();
        let (gateway_address, answered) = (address.parse().unwrap(), Arc::default());
        let mut callers = JoinSet::new();
        for number in 0..16 {
            let (stays, answered) = (number % 4 == 0, Arc::clone(&answered));
            let caller = Caller { gateway: gateway_address, stays, answered };
            callers.spawn_blocking(move || caller.call_until_refused());
        }
        eventually(async || answered.load(Relaxed) > 100).await;
        assert_eq!(gateway.stop().await, 0, "connections were cut");
        let lost = callers.join_all().await.concat();
        assert!(lost.is_empty(), "{} of {}: {lost:?}", lost.len(), answered.load(Relaxed));
    }
}

#[tokio::test]
async fn a_worker_that_leaves_finishes_its_calls_and_creating_goes_to_the_other() {
    let mut cluster = Cluster::start(2, 1, |_| {}).await;
    let id = cluster.client(0, ALICE).launch().await;
    let other = cluster.worker_config("w2");
    cluster.workers.push(RunningWorker::start(other).await);
    cluster.ready(2).await;
    let leaving = cluster.workers.remove(0);
    let began = cluster.workspace("w1", &id).join("began");
    let directory = cluster.directory().await;
    let meanwhile = async {
        eventually(async || began.exists()).await;
        leaving.begin_drain();
        for replica in [0, 1, 0, 1] {
            let client = cluster.client(replica, ALICE);
            let new = client.launch().await;
            client.shell(&new, "true").await;
            let placement = directory.locate(alice().tenant_digest(), environment_id(&new)).await;
            assert_eq!(placement.unwrap().unwrap().worker.as_str(), "w2");
        }
        leaving.stop().await;
    };
    let client = cluster.client(1, ALICE);
    let line = "touch began; sleep 2; echo finished";
    let call = client.shell(&id, line);
    let (finished, ()) = tokio::join!(call, meanwhile);
    assert_eq!(finished["stdout"], "finished\n");

    let answer = client.modern("tools/call", shell(&id, "true")).await;
    assert_eq!(answer.error()["code"], 50302, "away, not gone");
    let config = cluster.worker_config("w1");
    cluster.workers.push(RunningWorker::start(config).await);
    let back =
        async || client.modern("tools/call", shell(&id, "true")).await.status == StatusCode::OK;
    eventually(back).await;
    assert_eq!(client.shell(&id, "ls").await["stdout"], "began\n");
}

/// `baton dev` that has heard its worker, and an environment there.
async fn dev(scratch: &Scratch) -> (Program, McpClient) {
    let program = Program::dev(scratch.path()).await;
    eventually(async || workers_heard(program.url("gateway-internal")).await == 1).await;
    let client = program.client();
    (program, client)
}

#[tokio::test]
async fn dev_says_where_it_listens_and_leaves_with_nothing_at_sigterm() {
    let scratch = Scratch::new("dev");
    let (mut program, client) = dev(&scratch).await;
    let roles: Vec<&str> = program.listening.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["gateway", "gateway-internal", "worker-rpc", "worker-internal"]);
    assert!(program.url("gateway").ends_with("/mcp"));
    let id = client.launch().await;
    let began = workspace(&scratch.path().join("worker"), &id).join("began");
    let terminated = async {
        eventually(async || began.exists()).await;
        program.terminate();
    };
    let call = client.shell(&id, "touch began; sleep 1; echo finished");
    let (finished, ()) = tokio::join!(call, terminated);
    assert_eq!(finished["stdout"], "finished\n");
    assert_eq!(program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_dev_at_once() {
    let scratch = Scratch::new("twice");
    let (mut program, client) = dev(&scratch).await;
    let id = client.launch().await;
    let began = workspace(&scratch.path().join("worker"), &id).join("began");
    let url = program.url("gateway").to_owned();
    let twice = async {
        eventually(async || began.exists()).await;
        program.terminate();
        eventually(async || !listens(&url).await).await;
        let second = Instant::now();
        program.terminate();
        second
    };
    let second = tokio::select! {
        biased;
        second = twice => second,
        result = client.shell(&id, "touch began; sleep 20") => panic!("{result}"),
    };
    let code = program.ended().await.code();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert!(second.elapsed() < Duration::from_secs(2), "{:?}", second.elapsed());
}

#[tokio::test]
async fn dev_started_again_in_its_directory_has_its_environments() {
    let scratch = Scratch::new("again");
    let (mut program, client) = dev(&scratch).await;
    let id = client.launch().await;
    client.python(&id, "x = 1\nopen('kept', 'w').write('k')").await;
    program.kill();
    program.ended().await;
    let (_program, client) = dev(&scratch).await;
    assert_eq!(client.shell(&id, "cat kept").await["stdout"], "k");
    let python = json!({"environmentId": id, "pythonCode": "x"});
    let (_, data) = client.fail("runPythonCodeInRemoteEnvironment", python).await;
    assert_eq!(data["environment"]["restarted"]["reason"], "worker-restarted");
    assert_eq!(client.python(&id, "'x' in globals()").await["executionResult"], "False");
}
