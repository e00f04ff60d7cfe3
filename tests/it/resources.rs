//! Resources: the state of an environment is read by whoever may use it, through any replica.

#![expect(clippy::unwrap_used, reason = "an answer that is not as it must be fails the test")]

use baton::gateway::ToolChoice;
use http::StatusCode;
use serde_json::{Value, json};

use crate::cluster::{ALICE, BOB, Cluster, RunningGateway, config, embedded};
use crate::mcp_client::{Answer, McpClient};
use crate::upstream_server::UpstreamServer;
use crate::upstreams as behind;

fn uri_of(environment: &str) -> String {
    format!("baton://environments/{environment}")
}

async fn read(client: &McpClient, uri: &str) -> Answer {
    client.modern("resources/read", json!({"uri": uri})).await
}

/// The one content of a resource that is there.
async fn state(client: &McpClient, uri: &str) -> Value {
    let result = read(client, uri).await.result();
    assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(0), &json!("private")));
    let content = &result["contents"][0];
    assert_eq!((&content["uri"], &content["mimeType"]), (&json!(uri), &json!("application/json")));
    serde_json::from_str(content["text"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn an_environment_is_read_listed_and_described_by_a_template() {
    let cluster = Cluster::two_by_two().await;
    let alice = |replica| cluster.client(replica, ALICE);
    let ids = [alice(0).launch().await, alice(0).launch().await];
    let ready = state(&alice(1), &uri_of(&ids[1])).await;
    assert_eq!((&ready["environmentId"], &ready["state"]), (&json!(ids[1]), &json!("ready")));
    alice(0).python(&ids[1], "1").await;
    let running = state(&alice(1), &uri_of(&ids[1])).await;
    let listed = alice(0).succeed("listEnvironments", json!({})).await;
    assert_eq!(running["state"], "running");
    assert_eq!(running, listed["environments"][1], "the members are those of listEnvironments");

    let listed = alice(1).modern("resources/list", json!({})).await.result();
    assert_eq!(listed["cacheScope"], "private");
    let uris: Vec<_> =
        listed["resources"].as_array().unwrap().iter().map(|it| it["uri"].clone()).collect();
    assert_eq!(uris, [json!(uri_of(&ids[0])), json!(uri_of(&ids[1]))]);
    let bobs = cluster.client(1, BOB).modern("resources/list", json!({})).await.result();
    assert_eq!(bobs["resources"], json!([]));

    let templates = alice(0).modern("resources/templates/list", json!({})).await.result();
    let template = &templates["resourceTemplates"][0]["uriTemplate"];
    assert_eq!(template, "baton://environments/{environmentId}");
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_words_of_the_tools() {
    let cluster = Cluster::two_by_two().await;
    let (alice, bob) = (cluster.client(0, ALICE), cluster.client(1, BOB));
    let (closed, kept) = (alice.launch().await, alice.launch().await);
    alice.succeed("closeEnvironment", json!({"environmentId": closed})).await;
    for (client, id) in [(&alice, "1"), (&alice, &*closed), (&bob, &*kept)] {
        let run = json!({"environmentId": id, "pythonCode": "1"});
        let (words, _) = client.fail("runPythonCodeInRemoteEnvironment", run).await;
        let answer = read(client, &uri_of(id)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let error = answer.error();
        assert_eq!((&error["code"], &error["message"]), (&json!(-32602), &json!(words)));
        assert_eq!(error["data"]["uri"], uri_of(id));
    }
    for uri in ["baton://nothing", "file:///etc/passwd"] {
        let error = read(&alice, uri).await.error();
        assert_eq!((&error["code"], &error["data"]["uri"]), (&json!(-32602), &json!(uri)));
    }
    let paged = alice.modern("resources/list", json!({"cursor": "x"})).await;
    assert_eq!(paged.error()["code"], -32602);
}

#[tokio::test]
async fn legacy_clients_read_and_may_subscribe_to_what_there_is() {
    let cluster = Cluster::two_by_two().await;
    let alice = cluster.client(0, ALICE);
    let id = alice.launch().await;
    let uri = json!({"uri": uri_of(&id)});
    let result = alice.legacy("resources/read", uri.clone()).await.result();
    assert_eq!(result["contents"][0]["uri"], uri["uri"]);
    assert!(result.get("ttlMs").is_none());
    for method in ["resources/subscribe", "resources/unsubscribe"] {
        assert_eq!(alice.legacy(method, uri.clone()).await.result(), json!({}));
        let error = cluster.client(0, BOB).legacy(method, uri.clone()).await.error();
        assert_eq!((&error["code"], &error["data"]), (&json!(-32602), &uri));
        let other = json!({"uri": "test://other"});
        assert_eq!(alice.legacy(method, other).await.error()["code"], -32602);
    }
}

#[tokio::test]
async fn a_uri_with_a_handle_goes_to_no_upstream_where_no_environments_are_served() {
    let upstream = UpstreamServer::modern().await;
    let set = behind::set([behind::upstream("u", &upstream)]);
    let client = behind::gateway(&set, |_| {}).client();
    let uri = json!({"uri": "baton://environments/bte_from-before"});
    let error = client.modern("resources/read", uri.clone()).await.error();
    assert_eq!((&error["code"], &error["data"]), (&json!(-32602), &uri));
    assert_eq!(client.legacy("resources/subscribe", uri.clone()).await.error()["code"], -32602);
    let reference = json!({"type": "ref/resource", "uri": uri["uri"]});
    let argument = json!({"name": "environmentId", "value": "bte_from-before"});
    let completion = json!({"ref": reference, "argument": argument});
    assert_eq!(client.modern("completion/complete", completion).await.error()["code"], -32602);
    for method in ["resources/read", "resources/subscribe", "completion/complete"] {
        assert_eq!(upstream.received_of(method).len(), 0, "{method}");
    }
}

#[tokio::test]
async fn without_environment_tools_there_are_no_resources() {
    let tools = ToolChoice { environments: false, samples: true };
    let gateway = RunningGateway::start(baton::gateway::Config { tools, ..config(embedded()) });
    for method in ["resources/list", "resources/templates/list"] {
        let answer = gateway.client().modern(method, json!({})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method}");
    }
}
