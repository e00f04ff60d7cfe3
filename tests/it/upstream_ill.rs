//! Upstreams that are silent, slow, or gone: what their callers are told, and that nobody else waits for them.

use std::time::Duration;

use baton::gateway::{Upstream, UpstreamTimeouts};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::upstream_server::{Answer, UpstreamServer};
use crate::upstreams::{gateway, set, upstream};

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
