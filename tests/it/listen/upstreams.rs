//! What upstreams of either era tell one listener: its resources, and its tasks.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};

use super::{Stream, UPDATED};
use crate::cluster::{RunningGateway, eventually, keys};
use crate::mcp_client::McpClient;
use crate::tasks::ask;
use crate::upstream_server::{Answer, Received, Speaks, UpstreamServer, resource};
use crate::upstreams::{gateway, set, upstream};

/// Two subjects of one tenant.
const KEYS: [(&str, &str, &str); 2] = [("key-one", "t", "one"), ("key-two", "t", "two")];
const TEXT: &str = "test://text";
const LISTEN: &str = "subscriptions/listen";

/// A gateway with this upstream alone, and a client of it.
fn behind(server: &UpstreamServer) -> (RunningGateway, McpClient) {
    let gateway = gateway(&set([upstream("u", server)]), |config| config.credentials = keys(&KEYS));
    let client = gateway.client().with_key(KEYS[0].0);
    (gateway, client)
}

fn to(uris: &[&str]) -> Value {
    json!({"resourceSubscriptions": uris})
}

/// The streams of listeners; the gateway has one of its own.
async fn listeners(server: &UpstreamServer, count: usize) {
    eventually(async || server.streams() == 1 + count).await;
}

/// What listeners asked for, without the gateway's own.
fn asked_for(server: &UpstreamServer) -> Vec<Received> {
    let mut all = server.received_of(LISTEN);
    all.retain(|it| it.params()["notifications"].get("toolsListChanged").is_none());
    all
}

/// An acknowledgement of just this, then what the test notifies.
fn honouring(notifications: &Value) -> Answer {
    let method = "notifications/subscriptions/acknowledged";
    let params = json!({"notifications": notifications});
    Answer::stream().then(json!({"jsonrpc": "2.0", "method": method, "params": params})).feed()
}

#[tokio::test]
async fn a_modern_upstream_is_listened_to_for_each_listener_until_it_leaves() {
    let server = UpstreamServer::modern().await;
    let (_gateway, client) = behind(&server);
    let both = to(&[TEXT, "test://other"]);
    let (mut stream, acknowledged) = Stream::open(&client, json!("a"), &both).await;
    assert_eq!(acknowledged, both);
    listeners(&server, 1).await;
    let [arrived] = asked_for(&server).try_into().unwrap();
    assert_eq!(arrived.params()["notifications"], both);
    assert_eq!(arrived.meta("io.modelcontextprotocol/clientInfo")["name"], "it");
    assert_eq!(arrived.header("x-ms-apikey"), None);
    server.notify(UPDATED, &json!({"uri": "test://not-asked-for"}));
    server.notify("notifications/prompts/list_changed", &json!({}));
    server.notify(UPDATED, &json!({"uri": TEXT, "title": "of the upstream", "x": [1]}));
    let told = stream.next().await;
    let (method, params) = (&told["method"], &told["params"]);
    assert_eq!(
        (method, &params["uri"], &params["x"]),
        (&json!(UPDATED), &json!(TEXT), &json!([1]))
    );
    let (second, _) = Stream::open(&client, json!("a"), &to(&[TEXT])).await;
    listeners(&server, 2).await;
    drop(second);
    listeners(&server, 1).await;
    assert_eq!(server.abandoned(LISTEN), 1);
    server.notify(UPDATED, &json!({"uri": TEXT}));
    assert_eq!(stream.told().await, (UPDATED.to_owned(), Some(TEXT.to_owned())));
}

#[tokio::test]
async fn listeners_of_one_caller_share_a_legacy_session_s_subscription() {
    let server = UpstreamServer::legacy().await;
    let (gateway, client) = behind(&server);
    let (mut first, acknowledged) = Stream::open(&client, json!(1), &to(&[TEXT])).await;
    assert_eq!(acknowledged, to(&[TEXT]));
    let (mut second, _) = Stream::open(&client, json!(2), &to(&["test://b", TEXT])).await;
    listeners(&server, 1).await;
    let other = gateway.client().with_key(KEYS[1].0);
    let (others, _) = Stream::open(&other, json!(1), &to(&["test://c"])).await;
    listeners(&server, 2).await;
    let subscribed = server.received_of("resources/subscribe");
    let uris: Vec<_> = subscribed.iter().map(|it| &it.params()["uri"]).collect();
    assert_eq!(uris, [TEXT, "test://b", "test://c"]);
    let session = |at: usize| subscribed[at].header("mcp-session-id");
    assert!(session(0) == session(1) && session(0) != session(2), "callers share a session");
    server.notify(UPDATED, &json!({"uri": TEXT, "x": 1}));
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.next().await["params"]["x"], 1);
    }
    drop(second);
    let [over] = server.wait_for("resources/unsubscribe", 1).await.try_into().unwrap();
    assert_eq!(over.params()["uri"], "test://b");
    server.notify(UPDATED, &json!({"uri": "test://b"}));
    server.notify(UPDATED, &json!({"uri": TEXT, "x": 2}));
    assert_eq!(first.next().await["params"]["x"], 2);
    drop((first, others));
    assert_eq!(server.wait_for("resources/unsubscribe", 3).await.len(), 3);
    listeners(&server, 0).await;
}

#[tokio::test]
async fn only_what_the_upstream_honours_is_acknowledged() {
    let modern = UpstreamServer::modern().await;
    modern.on(LISTEN, |_| honouring(&to(&["test://b"])));
    let (_one, client) = behind(&modern);
    let (_stream, acknowledged) = Stream::open(&client, json!(1), &to(&[TEXT, "test://b"])).await;
    assert_eq!(acknowledged, to(&["test://b"]));

    let legacy = UpstreamServer::legacy().await;
    legacy.on("resources/subscribe", |it| {
        if it.params()["uri"] == TEXT {
            return Answer::error(-32002, "no such resource");
        }
        Answer::result(json!({}))
    });
    let (_two, client) = behind(&legacy);
    for id in 1..3 {
        let (_stream, acknowledged) =
            Stream::open(&client, json!(id), &to(&[TEXT, "test://b"])).await;
        assert_eq!(acknowledged, to(&["test://b"]));
    }

    let mute = UpstreamServer::legacy().await;
    let no_stream = || Answer::bytes("text/plain", "").status(StatusCode::METHOD_NOT_ALLOWED);
    mute.on("GET", move |_| no_stream());
    let (_three, client) = behind(&mute);
    let (_stream, acknowledged) = Stream::open(&client, json!(1), &to(&[TEXT])).await;
    assert_eq!(acknowledged, json!({}));
    assert!(mute.received_of("resources/subscribe").is_empty());

    let many: Vec<String> = (0..70).map(|it| format!("test://{it}")).collect();
    let fewer: Vec<&str> = many.iter().map(String::as_str).take(64).collect();
    modern.on(LISTEN, |it| honouring(&it.params()["notifications"]));
    let (_one, client) = behind(&modern);
    let asked = json!({"resourceSubscriptions": many});
    assert_eq!(Stream::open(&client, json!(1), &asked).await.1, to(&fewer));
}

#[tokio::test]
async fn an_upstream_that_is_down_or_silent_keeps_nobody_waiting() {
    let (well, silent, down) =
        tokio::join!(UpstreamServer::modern(), UpstreamServer::modern(), UpstreamServer::modern());
    let offer = |server: &UpstreamServer, uri: &str| {
        let listed = json!({"resources": [resource(uri)]});
        server.on("resources/list", move |_| Answer::result(listed.clone()));
    };
    for (server, uri) in [(&well, "well://a"), (&silent, "silent://a"), (&down, "down://a")] {
        offer(server, uri);
    }
    silent.on(LISTEN, |_| Answer::never());
    let all = set([upstream("a", &down), upstream("b", &silent), upstream("c", &well)]);
    let gateway = gateway(&all, |_| {});
    gateway.client().modern("resources/list", json!({})).await.result();
    down.refuse_connections().await;
    let begun = Instant::now();
    let asked = to(&["down://a", "silent://a", "well://a"]);
    let (mut stream, acknowledged) = Stream::open(&gateway.client(), json!(1), &asked).await;
    assert_eq!(acknowledged, to(&["well://a"]));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    well.notify(UPDATED, &json!({"uri": "well://a"}));
    assert_eq!(stream.told().await, (UPDATED.to_owned(), Some("well://a".to_owned())));
}

#[tokio::test]
async fn listeners_who_waited_in_vain_break_no_calls() {
    let silent = UpstreamServer::modern().await;
    silent.on(LISTEN, |_| Answer::never());
    let stuck = UpstreamServer::legacy().await;
    stuck.on("resources/subscribe", |_| Answer::never());
    for server in [silent, stuck] {
        let (_gateway, client) = behind(&server);
        let asked = to(&[TEXT]);
        let listening = (0..6).map(|id| Stream::open(&client, json!(id), &asked));
        for (_, acknowledged) in join_all(listening).await {
            assert_eq!(acknowledged, json!({}));
        }
        client.tool("echo", json!({})).await;
    }
}

#[tokio::test]
async fn an_upstream_without_sessions_has_one_stream_for_all() {
    let server = UpstreamServer::start(Speaks::Sessionless).await;
    server.on("GET", |_| Answer::stream().feed());
    let (gateway, one) = behind(&server);
    let two = gateway.client().with_key(KEYS[1].0);
    let (mut first, _) = Stream::open(&one, json!(1), &to(&[TEXT])).await;
    let (mut second, acknowledged) = Stream::open(&two, json!(1), &to(&[TEXT])).await;
    assert_eq!(acknowledged, to(&[TEXT]));
    assert_eq!(server.received_of("resources/subscribe").len(), 1);
    listeners(&server, 0).await;
    server.notify(UPDATED, &json!({"uri": TEXT}));
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.told().await, (UPDATED.to_owned(), Some(TEXT.to_owned())));
    }
}

#[tokio::test]
async fn a_stream_that_broke_is_opened_again_and_what_may_be_missed_is_told() {
    for server in [UpstreamServer::modern().await, UpstreamServer::legacy().await] {
        let (_gateway, client) = behind(&server);
        let asked = to(&[TEXT, "test://b"]);
        let (mut stream, acknowledged) = Stream::open(&client, json!(1), &asked).await;
        assert_eq!(acknowledged, asked);
        listeners(&server, 1).await;
        server.refuse_connections().await;
        server.accept_connections().await;
        for uri in [TEXT, "test://b"] {
            assert_eq!(stream.told().await, (UPDATED.to_owned(), Some(uri.to_owned())));
        }
        listeners(&server, 1).await;
        server.notify(UPDATED, &json!({"uri": TEXT, "x": 1}));
        assert_eq!(stream.next().await["params"]["x"], 1);
    }
}

#[tokio::test]
async fn a_stream_ends_in_order_when_its_upstream_honours_it_no_more() {
    for honours in [honouring(&json!({})), Answer::stream().finish(json!({}))] {
        let server = UpstreamServer::modern().await;
        let (_gateway, client) = behind(&server);
        let (stream, _) = Stream::open(&client, json!(1), &to(&[TEXT])).await;
        let answers = Mutex::new(vec![honours]);
        server.on(LISTEN, move |it| {
            let is_the_gateways = it.params()["notifications"]["resourceSubscriptions"].is_null();
            let next = if is_the_gateways { None } else { answers.lock().unwrap().pop() };
            next.unwrap_or_else(Answer::never)
        });
        server.refuse_connections().await;
        server.accept_connections().await;
        assert_eq!(stream.drained().await, [""; 0]);
    }
}

#[tokio::test]
async fn a_session_that_is_forgotten_is_begun_anew_for_its_listeners() {
    let server = UpstreamServer::legacy().await;
    let (_gateway, client) = behind(&server);
    let (mut stream, _) = Stream::open(&client, json!(1), &to(&[TEXT])).await;
    server.forget_sessions(StatusCode::BAD_REQUEST);
    server.refuse_connections().await;
    server.accept_connections().await;
    assert_eq!(stream.told().await, (UPDATED.to_owned(), Some(TEXT.to_owned())));
    assert_eq!(server.received_of("resources/subscribe").len(), 2);
}

#[tokio::test]
async fn a_stream_ends_in_order_when_its_upstream_is_no_longer_in_force() {
    let server = UpstreamServer::modern().await;
    let upstreams = set([upstream("u", &server)]);
    let gateway = gateway(&upstreams, |_| {});
    let (stream, _) = Stream::open(&gateway.client(), json!(1), &to(&[TEXT])).await;
    upstreams.send_replace(std::sync::Arc::from([]));
    assert_eq!(stream.drained().await, [""; 0]);
    eventually(async || server.streams() == 0).await;
}

fn task(status: &str) -> Value {
    json!({
        "taskId": "theirs",
        "status": status,
        "createdAt": "2026-07-28T00:00:00Z",
        "lastUpdatedAt": "2026-07-28T00:00:01Z",
        "ttlMs": 60_000,
    })
}

#[tokio::test]
async fn an_upstream_s_task_is_told_by_the_id_that_its_client_knows() {
    const TASKS: &str = "notifications/tasks";
    let server = UpstreamServer::modern().await;
    server.on("tools/call", |_| {
        let mut created = task("working");
        created["resultType"] = json!("task");
        Answer::result(created)
    });
    server.on(LISTEN, |it| honouring(&it.params()["notifications"]));
    let (_here, here) = behind(&server);
    let (there, client) = behind(&server);
    let created = ask(&here, "tools/call", json!({"name": "echo"})).await.result();
    let ours = created["taskId"].as_str().unwrap();
    let asked = json!({"taskIds": [ours, "theirs"]});
    let other = there.client().with_key(KEYS[1].0);
    assert_eq!(Stream::open(&other, json!(1), &asked).await.1, json!({}), "it is not theirs");
    let (mut stream, acknowledged) = Stream::open(&client, json!(1), &asked).await;
    assert_eq!(acknowledged, json!({"taskIds": [ours]}));
    let arrived = asked_for(&server).pop().unwrap();
    assert_eq!(arrived.params()["notifications"], json!({"taskIds": ["theirs"]}));
    // One for each of the gateways, and the listener's.
    eventually(async || server.streams() == 3).await;
    server.notify(TASKS, &task("working"));
    // What happens while nobody hears it is asked for afterwards.
    let told = stream.next().await;
    assert_eq!((&told["method"], &told["params"]["taskId"]), (&json!(TASKS), &json!(ours)));
    server.on("tasks/get", |it| {
        assert_eq!(it.header("mcp-name"), Some("theirs"));
        let mut completed = task("completed");
        completed["result"] = json!({"content": [], "resultType": "complete", "x": {"y": 1}});
        Answer::result(completed)
    });
    server.refuse_connections().await;
    server.accept_connections().await;
    let told = stream.next().await;
    let params = &told["params"];
    assert_eq!((&params["taskId"], &params["status"]), (&json!(ours), &json!("completed")));
    assert_eq!(params["result"]["x"], json!({"y": 1}));
    assert!(params.get("resultType").is_none(), "{told}");
}
