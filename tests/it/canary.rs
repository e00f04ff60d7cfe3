//! Canary secrets: whatever is secret goes through real processes that log all they can, and is looked for in all they say.

#![expect(clippy::unwrap_used, reason = "a test whose program does not start has failed")]

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use baton::domain::api_key::ApiKeyDigest;
use baton::domain::ids::WorkerId;
use baton::domain::keyring::{SecretKey, WorkerKey};
use http::{Request, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::cluster::{SIGNING, Scratch, eventually, worker_root, workers_heard};
use crate::collector::{Collector, hex};
use crate::mcp_client::{McpClient, Modern};
use crate::program::{Program, key_file};
use crate::redis_server::RedisServer;
use crate::tasks::{ask, begin, ended};
use crate::upstream_server::{Answer, UpstreamServer};

const PYTHON: &str = "runPythonCodeInRemoteEnvironment";
const SHELL: &str = "runShellCommandInRemoteEnvironment";

/// Which of these secrets a text holds: as they are, in either case, in hexadecimal, or in base64 wherever it begins.
fn leaks<'a>(text: &[u8], secrets: &'a [String]) -> Vec<&'a str> {
    let text = String::from_utf8_lossy(text).to_lowercase();
    let is_there = |secret: &&String| {
        let hex = hex(secret.as_bytes());
        let plain = [secret.to_lowercase(), hex];
        // The first and last characters of each depend on what stands beside it.
        let encoded = (0..3).map(|before| {
            let bytes = [&b"..."[..before], secret.as_bytes()].concat();
            let encoded = STANDARD_NO_PAD.encode(bytes).to_lowercase();
            encoded[[0, 2, 3][before]..encoded.len() - 2].to_owned()
        });
        plain.into_iter().chain(encoded).any(|form| text.contains(&form))
    };
    secrets.iter().filter(is_there).map(String::as_str).collect()
}

#[test]
fn a_planted_leak_is_found_in_any_form() {
    let secrets = ["cnryPlanted77".to_owned(), "cnryAbsent99".to_owned()];
    for text in [
        "error: cnryPlanted77 is wrong".to_owned(),
        "CNRYPLANTED77".to_owned(),
        "key=636e7279506c616e7465643737".to_owned(),
        STANDARD_NO_PAD.encode("user:cnryPlanted77@"),
        STANDARD_NO_PAD.encode(" cnryPlanted77 "),
        STANDARD_NO_PAD.encode("..cnryPlanted77"),
    ] {
        assert_eq!(leaks(text.as_bytes(), &secrets), ["cnryPlanted77"], "{text}");
    }
    assert!(leaks(b"nothing of the kind: cnryPlante", &secrets).is_empty());
}

/// Two gateways, a worker, Redis, an upstream and a collector, all logs in files, and what must be in none of them.
struct Site {
    gateways: Vec<Program>,
    worker: Program,
    logs: Vec<PathBuf>,
    collector: Collector,
    secrets: Vec<String>,
    key: String,
    scratch: Scratch,
    _redis: RedisServer,
    upstream: UpstreamServer,
}

impl Site {
    async fn start() -> Self {
        let (scratch, collector) = (Scratch::new("canary"), Collector::start());
        let redis = RedisServer::start();
        redis.say("ACL SETUSER cnry on >cnryRedisPassword1 ~* &* +@all");
        let upstream = UpstreamServer::modern().await;
        let key = "cnryApiKey2";
        let dir = scratch.path();
        let file = |name: &str, text: &str| key_file(dir, name, text);
        let signing = SecretKey::from_bytes([SIGNING; 32]).reveal();
        let root = worker_root().reveal();
        let worker_key = WorkerKey::derive(&worker_root(), &WorkerId::parse("w1").unwrap());
        let worker_key = worker_key.reveal();
        let config = format!(
            "log = \"trace\"\naccess_log = true\nsample_tools = true\ntask_after_seconds = 1\n\
             audience = \"baton\"\nredis = \"redis://cnry:cnryRedisPassword1@{redis}\"\n\
             otlp_endpoint = \"{otlp}\"\nsigning_key_file = [\"{signing}\"]\n\
             worker_root_key_file = [\"{root}\"]\n\
             [[api_key]]\nhash = \"{hash}\"\ntenant = \"t\"\nsubject = \"s\"\n\
             [[upstream]]\nname = \"u\"\nurl = \"{url}\"\nprefix = \"u_\"\n\
             private_networks = [\"127.0.0.1\"]\nheaders = {{ X-Api-Key = \"cnryUpstreamHeader3\" }}\n",
            redis = redis.address(),
            otlp = collector.url,
            signing = file("signing.key", &signing),
            root = file("root.key", &root),
            hash = ApiKeyDigest::of(key.as_bytes()),
            url = upstream.url(),
        );
        let config = file("gateway.toml", &config);
        let mut logs = Vec::new();
        let mut start = async |role: &str, more: Vec<String>| {
            let log = dir.join(format!("log-{}", logs.len()));
            let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
            command.args([role, "--listen", "127.0.0.1:0", "--internal-listen", "127.0.0.1:0"]);
            command.arg("--data-dir").arg(dir.join(format!("data-{}", logs.len())));
            command.args(more).stderr(File::create(&log).unwrap());
            command.env("OTEL_BSP_SCHEDULE_DELAY", "50");
            logs.push(log);
            Program::spawn(command, 2).await
        };
        let with_config = || vec!["--config".to_owned(), config.clone()];
        let gateways =
            vec![start("gateway", with_config()).await, start("gateway", with_config()).await];
        let mut more = vec![
            "--worker-key-file".to_owned(),
            file("worker.key", &worker_key),
            "--log=trace".to_owned(),
            "--otlp-endpoint".to_owned(),
            collector.url.clone(),
        ];
        for gateway in &gateways {
            more.extend(["--gateway".to_owned(), gateway.url("gateway-internal").to_owned()]);
        }
        let worker = start("worker", more).await;
        for gateway in &gateways {
            eventually(async || workers_heard(gateway.url("gateway-internal")).await == 1).await;
        }
        let secrets =
            ["cnryRedisPassword1", key, "cnryUpstreamHeader3", &signing, &root, &worker_key];
        let secrets = secrets.map(str::to_owned).to_vec();
        let key = key.to_owned();
        Self { gateways, worker, logs, collector, secrets, key, scratch, _redis: redis, upstream }
    }

    fn client(&self, replica: usize) -> McpClient {
        self.gateways[replica].client().with_key(&self.key)
    }

    /// A new secret of this name.
    fn secret(&mut self, name: &str) -> String {
        let secret = format!("cnry{name}{}", self.secrets.len());
        self.secrets.push(secret.clone());
        secret
    }

    /// Everything that the processes say to whoever asks or reads along, by where it stands.
    async fn said(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut said = Vec::new();
        for process in self.gateways.iter().chain([&self.worker]) {
            for (role, url) in &process.listening {
                let base = url.trim_end_matches("/mcp");
                for path in ["/health", "/", "/livez", "/readyz", "/metrics"] {
                    let client = McpClient::unjudging(&format!("{base}{path}"));
                    let answer = client.send("GET", &[], "").await;
                    said.push((format!("{role}{path}"), answer.body.to_vec()));
                }
            }
        }
        let config = self.scratch.path().join("gateway.toml");
        let mut doctor = Command::new(env!("CARGO_BIN_EXE_baton"));
        let doctor = doctor.arg("doctor").arg("--config").arg(config).output().unwrap();
        said.push(("doctor".to_owned(), [doctor.stdout, doctor.stderr].concat()));
        for process in self.gateways.iter_mut().chain([&mut self.worker]) {
            process.terminate();
            said.push(("stdout".to_owned(), process.rest().await.into_bytes()));
            process.ended().await;
        }
        for log in &self.logs {
            said.push((log.display().to_string(), fs::read(log).unwrap()));
        }
        said.push(("spans".to_owned(), self.collector.raw()));
        said
    }
}

#[tokio::test]
async fn no_secret_is_in_anything_that_is_said() {
    let mut site = Site::start().await;
    let environment = site.client(0).launch().await;
    site.secrets.push(environment.clone());
    executions(&mut site, &environment).await;
    refusals(&mut site, &environment).await;
    over_http2(&mut site).await;
    through_the_upstream(&mut site).await;
    let said = site.said().await;
    let found: Vec<_> =
        said.iter().map(|(place, text)| (place, leaks(text, &site.secrets))).collect();
    let found: Vec<_> = found.into_iter().filter(|(_, leaks)| !leaks.is_empty()).collect();
    assert!(found.is_empty(), "{found:#?}");
    // It was all there to be found: the tools that were called, in logs, spans and metrics.
    let named = |part: &str| {
        let mut places = said.iter().filter(|(place, _)| place.contains(part));
        places.any(|(_, text)| String::from_utf8_lossy(text).contains(PYTHON))
    };
    assert!(named("log-") && named("spans") && named("/metrics"));
}

/// Code, arguments, environment, output, keys of idempotency, tasks: done, failed, too late, left.
async fn executions(site: &mut Site, environment: &str) {
    let python = |code: String| json!({"name": PYTHON, "arguments": {"environmentId": environment, "pythonCode": code}});
    let shell = |line: String| json!({"name": SHELL, "arguments": {"environmentId": environment, "shellCommand": line}});
    let (code, error) = (site.secret("Code"), site.secret("Raised"));
    site.client(1)
        .modern(
            "tools/call",
            python(format!("import os; os.environ['S'] = '{code}'; print('{code}'); '{code}'")),
        )
        .await
        .result();
    site.client(0)
        .modern("tools/call", python(format!("raise ValueError('{error}')")))
        .await
        .result();
    let line = site.secret("Line");
    site.client(0)
        .modern("tools/call", shell(format!("export S={line}; echo $S; echo $S >&2; exit 3")))
        .await
        .result();
    let late = site.secret("Late");
    let mut call = shell(format!("echo {late}; sleep 30"));
    call["arguments"]["timeoutSeconds"] = json!(1);
    site.client(1).modern("tools/call", call).await.result();
    let left = site.secret("Left");
    let mut call = shell(format!("echo {left}; sleep 30"));
    call["_meta"] = json!({"progressToken": left});
    let mut messages = site.client(0).open(&Modern::new("tools/call", call)).await;
    messages.next().await;
    drop(messages);
    let (key, argument) = (site.secret("Idempotency"), site.secret("Argument"));
    for line in [&argument, &argument, &key] {
        let call = Modern::new("tools/call", shell(format!("echo {line}")));
        let call = call.with_header("idempotency-key", Some(&key));
        let answer = site.client(1).post(&call.headers(), call.body()).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let told = site.secret("Told");
    let id = begin(&site.client(0), shell(format!("echo {told}; sleep 2"))).await;
    ended(&site.client(1), &id).await;
    site.secrets.push(id);
}

/// Wrong keys, handles, ids and states; bodies and headers that cannot be read.
async fn refusals(site: &mut Site, environment: &str) {
    for (number, name) in ["Guess", "Bearer"].into_iter().enumerate() {
        let guess = site.secret(name);
        let nobody = site.gateways[number].client();
        let authorization = format!("Bearer {guess}");
        let headers = [("x-ms-apikey", guess.as_str()), ("authorization", authorization.as_str())];
        assert_eq!(
            nobody.post(&headers[number..=number], "{}").await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let client = site.client(0);
    let handle = format!("bte_{}", site.secret("Handle"));
    client.fail(SHELL, json!({"environmentId": handle, "shellCommand": "true"})).await;
    let forged = format!("{}{}", &environment[..60], "AAAA");
    site.secrets.push(forged.clone());
    client.fail(SHELL, json!({"environmentId": forged, "shellCommand": "true"})).await;
    let task = format!("btt_{}", site.secret("Task"));
    ask(&client, "tasks/get", json!({"taskId": task})).await.error();
    let state = site.secret("State");
    let asked = json!({"name": "whoami", "arguments": {}, "requestState": state, "inputResponses": {"q": {}}});
    client.modern("tools/call", asked).await;
    let cursor = site.secret("Cursor");
    client.modern("tools/list", json!({"cursor": cursor})).await;
    let wrong = site.secret("Wrong");
    client
        .modern("tools/call", json!({"name": PYTHON, "arguments": {"pythonCode": [wrong]}}))
        .await;
    for body in [
        "{\"jsonrpc\": NAME",
        "[\"NAME\"]",
        "{\"NAME\":1,\"NAME\":2}",
        "\"NAME",
        "{\"jsonrpc\":\"2.0\",\"id\":{\"NAME\":1},\"method\":\"ping\"}",
    ] {
        let body = body.replace("NAME", &site.secret("Body"));
        let headers = [("content-type", "application/json")];
        McpClient::unjudging(&client.at(site.gateways[0].url("gateway")).url)
            .with_key(&site.key)
            .post(&headers, body)
            .await;
    }
    for header in [
        "mcp-param-x",
        "mcp-protocol-version",
        "cookie",
        "baggage",
        "traceparent",
        "tracestate",
        "origin",
        "host",
        "content-type",
        "accept",
        "idempotency-key",
    ] {
        let value = site.secret("Header");
        let ping = Modern::new("tools/list", json!({})).with_header(header, Some(&value));
        client.post(&ping.headers(), ping.body()).await;
    }
    let query = site.secret("Query");
    client.at(&format!("{}?key={query}", client.url)).modern("tools/list", json!({})).await;
}

/// A call whose headers are taken apart by another library.
async fn over_http2(site: &mut Site) {
    let (argument, header) = (site.secret("Framed"), site.secret("Packed"));
    let call = Modern::new("tools/call", json!({"name": "whoami", "arguments": {"x": argument}}));
    let client: Client<_, String> =
        Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let mut request = Request::post(site.gateways[0].url("gateway"));
    for (name, value) in call.headers() {
        request = request.header(name, value);
    }
    let request = request.header("x-ms-apikey", &site.key).header("cookie", header);
    let answer = client.request(request.body(call.body()).unwrap()).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    answer.into_body().collect().await.unwrap();
}

/// What goes to another server and comes from it.
async fn through_the_upstream(site: &mut Site) {
    let (result, error) = (site.secret("Result"), site.secret("Error"));
    let (sent, answered) = (site.secret("Sent"), result.clone());
    let call = async |site: &Site| {
        let params: Value = json!({"name": "u_echo", "arguments": {"text": sent}});
        site.client(0).modern("tools/call", params).await
    };
    site.upstream.on("tools/call", move |_| {
        Answer::result(json!({"content": [], "structuredContent": {"s": answered}}))
    });
    eventually(async || call(site).await.status == StatusCode::OK).await;
    site.upstream.on("tools/call", move |_| Answer::error(-32000, &error));
    call(site).await;
    let garbage = site.secret("Garbage");
    site.upstream.on("tools/call", move |_| Answer::bytes("application/json", garbage.clone()));
    call(site).await;
    let half = site.secret("Half");
    site.upstream.on("tools/call", move |_| Answer::half("application/json", half.clone()));
    tokio::time::timeout(Duration::from_secs(20), call(site)).await.expect("no answer came");
    site.upstream.refuse_connections().await;
    call(site).await;
}
