//! What `/metrics` tells of a gateway's own work: for those who watch it, and for what scales it.

use serde_json::json;

use crate::cluster::{RunningGateway, eventually};
use crate::listen::Stream;
use crate::mcp_client::Modern;
use crate::upstream_server::{Answer, Gate, UpstreamServer};
use crate::upstreams::{gateway, set, upstream};

/// The value of one series; 0 if there is none.
async fn value(gateway: &RunningGateway, series: &str) -> u64 {
    let answer = gateway.internal("/metrics").send("GET", &[], "").await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("counts and gauges of ours are whole"))
}

#[tokio::test]
async fn a_request_to_an_upstream_is_counted_by_method_upstream_and_how_it_ended() {
    let server = UpstreamServer::modern().await;
    let set = set([upstream("u", &server)]);
    let gateway = gateway(&set, |_| {});
    let of = |error: &str| {
        format!(
            "mcp_client_operation_duration_seconds_count{{mcp_method_name=\"tools/call\",upstream=\"u\",error_type=\"{error}\"}}"
        )
    };
    let client = gateway.client();
    let call = || client.modern("tools/call", json!({"name": "echo", "arguments": {}}));
    for _ in 0..2 {
        call().await.result();
    }
    server.on("tools/call", |_| Answer::error(-32603, "it broke"));
    call().await.error();
    assert_eq!((value(&gateway, &of("")).await, value(&gateway, &of("-32603")).await), (2, 1));
}

#[tokio::test]
async fn a_stream_that_waits_for_changes_is_no_call_in_flight() {
    let server = UpstreamServer::modern().await;
    let held = Gate::new();
    let gate = held.clone();
    server.on("tools/call", move |_| Answer::stream().gate(&gate).finish(json!({"content": []})));
    let set = set([upstream("u", &server)]);
    let gateway = gateway(&set, |_| {});
    let client = gateway.client();
    let asked = json!({"toolsListChanged": true});
    let (stream, _) = Stream::open(&client, json!(1), &asked).await;
    let in_flight = async || {
        let of = |kind: &str| format!("baton_in_flight{{kind=\"{kind}\"}}");
        (value(&gateway, &of("server")).await, value(&gateway, &of("listen")).await)
    };
    assert_eq!(in_flight().await, (0, 1));
    let call = Modern::new("tools/call", json!({"name": "echo", "arguments": {}}));
    let calling = async {
        client.open(&call).await.next().await;
    };
    let counted = async {
        eventually(async || in_flight().await == (1, 1)).await;
        held.open();
    };
    tokio::join!(calling, counted);
    drop(stream);
    eventually(async || in_flight().await == (0, 0)).await;
}
