//! Lists that were given short, or missed a change: they say so, and their listeners are told when there is more.

use serde_json::{Value, json};

use super::{RESOURCES, Stream, TOOLS};
use crate::cluster::eventually;
use crate::mcp_client::McpClient;
use crate::upstream_server::{Answer, Gate, UpstreamServer, prompt, tool};
use crate::upstreams::{gateway, names, set, tools, upstream};

const PROMPTS: &str = "notifications/prompts/list_changed";

/// The tools that are listed, and for how long and for whom that is said to be good.
async fn listed(client: &McpClient) -> (Vec<String>, Value, Value) {
    let list = client.modern("tools/list", json!({})).await.result();
    (names(&list, "tools"), list["ttlMs"].clone(), list["cacheScope"].clone())
}

#[tokio::test]
async fn a_list_without_a_server_is_good_for_no_time_and_its_coming_is_told() {
    let (well, late) = (UpstreamServer::modern().await, UpstreamServer::modern().await);
    late.offer(&[tool("late")]);
    late.refuse_connections().await;
    let gateway = gateway(&set([upstream("well", &well), upstream("late", &late)]), |_| {});
    let client = gateway.client();
    let asked = json!({"toolsListChanged": true});
    eventually(async || well.streams() == 1).await;
    assert_eq!(listed(&client).await, (vec!["echo".to_owned()], json!(0), json!("private")));
    let (mut stream, acknowledged) = Stream::open(&client, json!(1), &asked).await;
    assert_eq!(acknowledged, asked);
    late.accept_connections().await;
    assert_eq!(stream.told().await.0, TOOLS);
    let (names, ttl, scope) = listed(&client).await;
    assert_eq!((names, scope), (vec!["echo".to_owned(), "late".to_owned()], json!("public")));
    assert!(ttl.as_u64() > Some(0), "{ttl}");
}

#[tokio::test]
async fn a_list_that_comes_late_is_told_of_when_it_is_there() {
    let server = UpstreamServer::modern().await;
    let old = json!({"tools": [tool("old")], "ttlMs": 600_000, "cacheScope": "public"});
    server.on("tools/list", move |_| Answer::result(old.clone()));
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let client = gateway.client();
    assert_eq!(tools(&client).await, ["old"]);
    eventually(async || server.streams() == 1).await;
    let asked = json!({"toolsListChanged": true});
    let (mut stream, _) = Stream::open(&client, json!(1), &asked).await;
    let (gate, new) = (Gate::new(), json!({"tools": [tool("new")]}));
    let held = gate.clone();
    server.on("tools/list", move |_| Answer::result(new.clone()).after(&held));
    server.notify(TOOLS, &json!({}));
    assert_eq!(stream.told().await.0, TOOLS);
    assert_eq!(listed(&client).await, (vec!["old".to_owned()], json!(0), json!("private")));
    gate.open();
    assert_eq!(stream.told().await.0, TOOLS);
    assert_eq!(tools(&client).await, ["new"]);
}

#[tokio::test]
async fn what_changed_while_nobody_listened_is_told_and_what_did_not_is_not() {
    let server = UpstreamServer::modern().await;
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let client = gateway.client();
    assert_eq!(tools(&client).await, ["echo"]);
    for list in ["prompts/list", "resources/list"] {
        client.modern(list, json!({})).await.result();
    }
    let all =
        json!({"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true});
    let (mut stream, _) = Stream::open(&client, json!(1), &all).await;
    eventually(async || server.streams() == 1).await;
    server.refuse_connections().await;
    server.on("prompts/list", |_| Answer::result(json!({"prompts": [prompt("new")]})));
    server.accept_connections().await;
    assert_eq!(stream.told().await.0, PROMPTS);
    for list in ["tools/list", "resources/list"] {
        server.wait_for(list, 2).await;
    }
    server.notify(RESOURCES, &json!({}));
    assert_eq!(stream.told().await.0, RESOURCES);
}
