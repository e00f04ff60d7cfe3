//! `baton call` against a server that answers what a test says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::arguments;
use crate::cli::console::recorder::Recorder;
use crate::cli::settings;
use crate::cli::settings::fake::Fake;

/// What a server got: the head in lower case, and the body.
struct Got {
    head: String,
    body: Value,
}

/// A server that gives these answers, one to each request, and then what it got.
fn server(answers: Vec<String>) -> (String, JoinHandle<Vec<Got>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let serve = move || {
        let one = |answer: String| answer_one(&listener.accept().unwrap().0, &answer);
        answers.into_iter().map(one).collect()
    };
    (url, std::thread::spawn(serve))
}

fn answer_one(mut stream: &TcpStream, answer: &str) -> Got {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    Got { head, body: serde_json::from_slice(&body).unwrap() }
}

fn http(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{body}")
}

fn result(result: &Value) -> String {
    let message = json!({"jsonrpc": "2.0", "id": 1, "result": result});
    http("200 OK", "application/json", &message.to_string())
}

fn refused(status: &str, code: i64, data: &Value) -> String {
    let error = json!({"code": code, "message": "no", "data": data});
    let message = json!({"jsonrpc": "2.0", "id": 1, "error": error});
    http(status, "application/json", &message.to_string())
}

fn ran(stdout: &str, exit_code: i64) -> Value {
    json!({"content": [], "structuredContent": {"stdout": stdout, "stderr": "", "exitCode": exit_code}})
}

fn launched() -> String {
    result(&json!({"content": [], "structuredContent": {"environmentId": "bte_x"}}))
}

/// What came of a call: stdout, stderr, exit code.
async fn call(url: &str, words: &str) -> (String, String, u8) {
    let around = Fake::new();
    let words = words.split_whitespace().map(str::to_owned);
    let words: Vec<String> = ["--url".into(), url.into()].into_iter().chain(words).collect();
    let call = arguments::read(settings::call(&words, &around).unwrap(), &around).unwrap();
    let mut console = Recorder::default();
    let code = call.run(&mut console).await;
    (console.out, console.err, code)
}

#[tokio::test]
async fn a_request_says_everything_in_its_headers() {
    let (url, server) = server(vec![result(&json!({"content": [{"type": "text", "text": "ok"}]}))]);
    let told = call(&url, "grüße a=1 b:=2 --api-key secret").await;
    assert_eq!(told, ("ok\n".into(), String::new(), 0));
    let got = server.join().unwrap().remove(0);
    for line in [
        "post /mcp http/1.1",
        "mcp-protocol-version: 2026-07-28",
        "mcp-method: tools/call",
        "mcp-name: =?base64?z3ldvmofzq==?=", // in lower case, as all of the head
        "accept: application/json, text/event-stream",
        "x-ms-apikey: secret",
    ] {
        assert!(got.head.contains(line), "{line}\n{}", got.head);
    }
    let params = &got.body["params"];
    assert_eq!(params["arguments"], json!({"a": "1", "b": 2}));
    assert_eq!(params["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert!(params["_meta"]["io.modelcontextprotocol/clientCapabilities"].is_object());
    assert!(!params["_meta"]["progressToken"].is_null());
}

#[tokio::test]
async fn a_call_may_have_a_key() {
    let (url, server) = server(vec![result(&ran("", 0)), result(&ran("", 0))]);
    call(&url, "t --idempotency-key k-1").await;
    call(&url, "t").await;
    let got = server.join().unwrap();
    let key = |at: usize| got[at].body["params"]["_meta"].get("dev.baton/idempotencyKey");
    assert_eq!((key(0), key(1)), (Some(&json!("k-1")), None));
}

#[tokio::test]
async fn output_is_shown_as_it_comes_and_once() {
    let piece = |stream: &str, text: &str| {
        let params = json!({"progressToken": 1, "progress": 1, "message": text, "_meta": {"dev.baton/stream": stream}});
        let message =
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        format!(": keep-alive\n\nevent: message\ndata: {message}\n\n")
    };
    let end = json!({"jsonrpc": "2.0", "id": 1, "result": ran("one\ntwo\nthree\n", 3)});
    let stream = format!("{}{}data: {end}\n\n", piece("stdout", "one\n"), piece("stdout", "two\n"));
    let (url, _server) = server(vec![http("200 OK", "text/event-stream", &stream)]);
    let told = call(&url, "run").await;
    assert_eq!(told, ("one\ntwo\nthree\n".into(), String::new(), 3));
}

#[tokio::test]
async fn a_new_environment_is_closed_even_if_the_call_is_refused() {
    for (answer, code) in
        [(result(&ran("hi\n", 0)), 0), (refused("200 OK", -32602, &Value::Null), 1)]
    {
        let (url, server) = server(vec![launched(), answer, result(&json!({"content": []}))]);
        let (_, _, told) =
            call(&url, "runShellCommandInRemoteEnvironment shellCommand=ls --new").await;
        let got = server.join().unwrap();
        let names: Vec<&Value> = got.iter().map(|it| &it.body["params"]["name"]).collect();
        assert_eq!(
            names,
            ["launchShell", "runShellCommandInRemoteEnvironment", "closeEnvironment"]
        );
        assert_eq!(got[1].body["params"]["arguments"]["environmentId"], "bte_x");
        assert_eq!(got[2].body["params"]["arguments"]["environmentId"], "bte_x");
        assert_eq!(told, code);
    }
}

#[tokio::test]
async fn arguments_that_a_tool_wants_in_headers_are_repeated_there() {
    let schema = json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    let tools = json!({"tools": [{"name": "t", "inputSchema": schema}]});
    let answers =
        vec![refused("400 Bad Request", -32020, &Value::Null), result(&tools), result(&json!({}))];
    let (url, server) = server(answers);
    assert_eq!(call(&url, "t region=eu").await.2, 0);
    let got = server.join().unwrap();
    assert!(!got[0].head.contains("mcp-param-region"));
    assert!(got[2].head.contains("mcp-param-region: eu"), "{}", got[2].head);
}

#[tokio::test]
async fn a_refusal_says_who_acts_next() {
    let check = async |answer: String, words: &str, expected: &str| {
        let (url, _server) = server(vec![answer]);
        let (out, err, code) = call(&url, words).await;
        assert!(err.contains(expected), "{expected}\n{err}");
        assert_eq!((out.as_str(), code), ("", 1), "{err}");
    };
    let unauthorized = || refused("401 Unauthorized", -32001, &Value::Null);
    check(unauthorized(), "t", "set BATON_API_KEY").await;
    check(unauthorized(), "t --api-key btk_abc", "cut short").await;
    check(unauthorized(), "t --api-key abc", "ask whoever runs it").await;
    check(http("401 Unauthorized", "text/plain", ""), "t", "set BATON_API_KEY").await;
    let busy = refused("429 Too Many Requests", 42901, &json!({"retryAfterMs": 1500}));
    check(busy, "t", "refused: no (42901) → try again in 2 s").await;
    check(http("200 OK", "text/html", "<html>"), "t", "It ends in /mcp").await;
    check(http("200 OK", "text/event-stream", ": hi\n\n"), "t", "a stream without a result").await;
    let cut = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    check(cut.into(), "t", "the call may have run").await;
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_called_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, err, code) = call(&format!("http://{closed}/mcp"), "t").await;
    assert!(err.contains("nothing answers at") && err.contains("refused") && code == 1, "{err}");
    let (_, err, _) = call("https://h/mcp", "t").await;
    assert!(err.contains("needs TLS"), "{err}");
}

#[tokio::test]
async fn json_is_printed_as_it_came() {
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{"z":1.50,"a":[ ],"isError":true}}"#;
    let (url, _server) = server(vec![http("200 OK", "application/json", answer)]);
    let told = call(&url, "t --json").await;
    assert_eq!(told, ("{\"z\":1.50,\"a\":[ ],\"isError\":true}\n".into(), String::new(), 1));
}

#[tokio::test]
async fn tools_are_listed_page_by_page() {
    let page =
        |name: &str, next: Value| result(&json!({"tools": [{"name": name}], "nextCursor": next}));
    let (url, server) = server(vec![page("a", "c".into()), page("b", Value::Null)]);
    assert_eq!(call(&url, "").await, ("a\n\nb\n\n".into(), String::new(), 0));
    assert_eq!(server.join().unwrap()[1].body["params"]["cursor"], "c");
}
