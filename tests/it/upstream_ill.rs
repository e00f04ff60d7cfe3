//! Upstreams that are silent, slow, or gone: what their callers are told, and that nobody else waits for them.

use std::time::Duration;

use baton::gateway::{Upstream, UpstreamTimeouts};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::cluster::{eventually, keys};
use crate::upstream_server::{Answer, UpstreamServer, tool};
use crate::upstreams::{KEYS, gateway, set, tools, upstream};

/// A table of an upstream that has so long for a list, a handshake, a discovery.
fn hurried(name: &str, server: &UpstreamServer, list: Duration) -> Upstream {
    let plain = upstream(name, server);
    Upstream { timeouts: UpstreamTimeouts { list, ..plain.timeouts }, ..plain }
}

#[tokio::test]
async fn a_call_that_was_never_sent_has_not_run_and_waits_for_no_other() {
    let second = Duration::from_secs(1);
    let check = async |server: &UpstreamServer, method: &str| {
        server.on(method, |_| Answer::never());
        let gateway = gateway(&set([hurried("ill", server, second)]), |_| {});
        let call = async |_| {
            let answer = gateway.client().modern("tools/call", json!({"name": "echo"})).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{method} {answer:?}");
            let error = answer.error();
            let expected = (&json!(50304), &json!("no"));
            assert_eq!((&error["code"], &error["data"]["executed"]), expected, "{error}");
        };
        // One after another, they would take a second each.
        timeout(second * 5, join_all((0..8).map(call))).await.expect("they wait for each other");
        assert_eq!(server.received_of("tools/call").len(), 0);
    };
    check(&UpstreamServer::modern().await, "server/discover").await;
    check(&UpstreamServer::legacy().await, "initialize").await;
}

#[tokio::test]
async fn a_name_stays_its_upstreams_however_long_that_is_gone() {
    let (well, ill) = (UpstreamServer::modern().await, UpstreamServer::modern().await);
    well.offer(&[tool("both"), tool("well")]);
    ill.offer(&[tool("both"), tool("ill")]);
    let briefly = |table: Upstream| {
        let timeouts = UpstreamTimeouts { list_stale: Duration::ZERO, ..table.timeouts };
        Upstream { timeouts, priority: 1, ..table }
    };
    let set = set([upstream("well", &well), briefly(upstream("ill", &ill))]);
    let gateway = gateway(&set, |_| {});
    let client = gateway.client();
    assert_eq!(tools(&client).await, ["both", "ill", "well"]);
    ill.refuse_connections().await;
    eventually(async || tools(&client).await == ["both", "well"]).await;
    for name in ["ill", "both"] {
        let error = client.modern("tools/call", json!({"name": name})).await.error();
        assert_eq!(error["code"], 50304, "{error}");
    }
    client.tool("well", json!({})).await;
    assert_eq!(well.received_of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_silent_upstream_holds_up_each_caller_s_list_but_a_little() {
    let (well, ill) = (UpstreamServer::modern().await, UpstreamServer::modern().await);
    let private = || json!({"tools": [], "ttlMs": 0, "cacheScope": "private"});
    ill.on("tools/list", move |_| Answer::result(private()));
    let set = set([upstream("well", &well), hurried("ill", &ill, Duration::from_secs(4))]);
    let gateway = gateway(&set, |config| config.credentials = keys(&KEYS));
    let [one, other] = KEYS.map(|(key, _, _)| gateway.client().with_key(key));
    assert_eq!(tools(&one).await, ["echo"]);
    ill.on("tools/list", |_| Answer::error(-32603, "not now"));
    assert_eq!(tools(&one).await, ["echo"]);
    ill.on("tools/list", |_| Answer::never());
    // The other never had a list of it, and it has just failed to give one.
    let listed = timeout(Duration::from_secs(3), tools(&other)).await;
    assert_eq!(listed.expect("it holds up the list"), ["echo"]);
}
