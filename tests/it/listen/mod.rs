//! `subscriptions/listen`: a client of one replica learns what happened through any.

#![expect(clippy::unwrap_used, reason = "an answer that is not as it must be fails the test")]

mod expired;
mod lists;
mod tasks;
mod upstreams;

use std::time::Duration;

use baton::gateway::{Config, Listens};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cluster::{
    ALICE, ANYWHERE, BOB, CAROL, Cluster, RunningGateway, config, embedded, eventually,
};
use crate::fault::{Fault, Proxy};
use crate::mcp_client::{McpClient, Messages, Modern};
use crate::upstream_server::UpstreamServer;
use crate::upstreams as behind;

const UPDATED: &str = "notifications/resources/updated";
const RESOURCES: &str = "notifications/resources/list_changed";
const TOOLS: &str = "notifications/tools/list_changed";
/// Longer than a few tries in a row take.
const OUTAGE: Duration = Duration::from_secs(3);
/// The longest pause between two tries, and some time to tell.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

/// An open stream, read message by message.
pub(super) struct Stream {
    id: Value,
    messages: Messages,
}

impl Stream {
    /// Opens a stream and returns it with what was acknowledged.
    pub(super) async fn open(
        client: &McpClient,
        id: Value,
        notifications: &Value,
    ) -> (Self, Value) {
        let messages = client.open(&listen(id.clone(), notifications)).await;
        assert_eq!(messages.status, StatusCode::OK);
        let mut stream = Self { id, messages };
        let mut first = stream.next().await;
        assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
        let acknowledged = first["params"]["notifications"].take();
        (stream, acknowledged)
    }

    /// The next message, under the subscription's id; `None` at the end.
    async fn try_next(&mut self) -> Option<Value> {
        let message = self.messages.next().await?;
        let told = message.get("params").unwrap_or(&message["result"]);
        assert_eq!(told["_meta"]["io.modelcontextprotocol/subscriptionId"], self.id, "{message}");
        Some(message)
    }

    async fn next(&mut self) -> Value {
        self.try_next().await.expect("the stream has ended")
    }

    /// The next notification's method, and the URI that it is about, if it is about one.
    pub(super) async fn told(&mut self) -> (String, Option<String>) {
        let message = self.next().await;
        let uri = message["params"]["uri"].as_str().map(str::to_owned);
        (message["method"].as_str().unwrap().to_owned(), uri)
    }

    /// Reads to the end that a drain makes. Returns the methods of what came before it.
    async fn drained(mut self) -> Vec<String> {
        let mut methods = Vec::new();
        loop {
            let message = self.next().await;
            let method = message["method"].as_str().unwrap().to_owned();
            if method == "notifications/cancelled" {
                assert_eq!(message["params"]["requestId"], self.id);
                break;
            }
            methods.push(method);
        }
        let last = self.next().await;
        assert_eq!((&last["id"], &last["result"]["resultType"]), (&self.id, &json!("complete")));
        assert_eq!(self.try_next().await, None, "nothing follows the result");
        assert!(!self.messages.broken);
        methods
    }
}

fn listen(id: Value, notifications: &Value) -> Modern {
    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let meta = json!({"io.modelcontextprotocol/clientCapabilities": tasks});
    let params = json!({"notifications": notifications, "_meta": meta});
    let mut request = Modern::new("subscriptions/listen", params);
    request.message["id"] = id;
    request
}

pub(super) fn uri_of(environment: &str) -> String {
    format!("baton://environments/{environment}")
}

pub(super) fn updated(environment: &str) -> (String, Option<String>) {
    (UPDATED.to_owned(), Some(uri_of(environment)))
}

#[tokio::test]
async fn an_execution_through_one_replica_is_told_at_another_under_the_id_as_it_came() {
    let cluster = Cluster::two_by_two().await;
    let alice = |replica| cluster.client(replica, ALICE);
    let (watched, other) = (alice(0).launch().await, alice(0).launch().await);
    let mut streams = Vec::new();
    for (replica, id) in [(0, json!(7)), (0, json!("7")), (1, json!("7"))] {
        let asked = json!({"resourceSubscriptions": [uri_of(&watched)]});
        let (stream, acknowledged) = Stream::open(&alice(replica), id, &asked).await;
        assert_eq!(acknowledged, asked);
        assert_eq!(stream.messages.headers["content-type"], "text/event-stream");
        assert_eq!(stream.messages.headers["x-accel-buffering"], "no");
        streams.push(stream);
    }
    for replica in [1, 0] {
        alice(replica).python(&other, "1").await;
        alice(replica).shell(&watched, "true").await;
        for stream in &mut streams {
            assert_eq!(stream.told().await, updated(&watched));
        }
    }
    alice(1).succeed("closeEnvironment", json!({"environmentId": watched})).await;
    for stream in &mut streams {
        assert_eq!(stream.told().await, updated(&watched));
    }
}

#[tokio::test]
async fn only_what_was_asked_for_and_is_offered_is_acknowledged_and_told() {
    let cluster = Cluster::two_by_two().await;
    let alice = |replica| cluster.client(replica, ALICE);
    let mine = alice(0).launch().await;
    let everything = json!({
        "toolsListChanged": true,
        "promptsListChanged": true,
        "resourcesListChanged": true,
        "resourceSubscriptions": [uri_of(&mine), "test://other", uri_of("bte_made-up")],
        "tomorrow": true,
    });
    let (mut all, acknowledged) = Stream::open(&alice(0), json!(1), &everything).await;
    let honoured = json!({
        "toolsListChanged": true,
        "resourcesListChanged": true,
        "resourceSubscriptions": [uri_of(&mine)],
    });
    assert_eq!(acknowledged, honoured);
    let (nothing, acknowledged) = Stream::open(&alice(0), json!(1), &json!({})).await;
    assert_eq!(acknowledged, json!({}));
    let (bobs, acknowledged) = Stream::open(&cluster.client(0, BOB), json!(1), &everything).await;
    let not_his = json!({"toolsListChanged": true, "resourcesListChanged": true});
    assert_eq!(acknowledged, not_his);

    alice(1).launch().await;
    assert_eq!(all.told().await, (RESOURCES.to_owned(), None));
    alice(1).python(&mine, "1").await;
    assert_eq!(all.told().await, updated(&mine));
    cluster.gateways[0].begin_drain();
    assert_eq!(nothing.drained().await, [""; 0]);
    assert_eq!(bobs.drained().await, [""; 0], "what is alice's is not told to bob");
    all.drained().await;
}

#[tokio::test]
async fn a_replica_that_stops_ends_its_streams_in_order_and_cuts_none() {
    let mut cluster = Cluster::two_by_two().await;
    let alice = |replica: usize| cluster.client(replica, ALICE);
    let asked = json!({"toolsListChanged": true, "resourcesListChanged": true});
    let (first, _) = Stream::open(&alice(0), json!(0), &asked).await;
    let (second, _) = Stream::open(&alice(0), json!("a"), &asked).await;
    let (mut elsewhere, _) = Stream::open(&alice(1), json!(0), &asked).await;
    // Its own listeners are told at once, the other replica's a moment later.
    alice(0).launch().await;
    assert_eq!(elsewhere.told().await.0, RESOURCES);
    let stopping = cluster.gateways.remove(0);
    let (first, second, cut) = tokio::join!(first.drained(), second.drained(), stopping.stop());
    assert_eq!((first, second), (vec![RESOURCES.to_owned()], vec![RESOURCES.to_owned()]));
    assert_eq!(cut, 0);
    cluster.client(0, ALICE).launch().await;
    assert_eq!(elsewhere.told().await.0, RESOURCES, "the other replica's go on");
}

#[tokio::test]
async fn a_tenant_and_a_replica_have_so_many_streams() {
    let listens = Listens { streams: 3, streams_per_tenant: 2 };
    let cluster = Cluster::start(1, 0, |config| config.listens = listens).await;
    let (alice, carol) = (cluster.client(0, ALICE), cluster.client(0, CAROL));
    let asked = json!({"toolsListChanged": true});
    let refused = async |client: &McpClient| {
        let request = listen(json!("x"), &asked);
        let answer = client.post(&request.headers(), request.body()).await;
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.json()["id"], "x");
        (answer.status, answer.error()["code"].as_i64().unwrap())
    };
    let (first, _) = Stream::open(&alice, json!(1), &asked).await;
    let (_second, _) = Stream::open(&cluster.client(0, BOB), json!(2), &asked).await;
    assert_eq!(refused(&alice).await, (StatusCode::TOO_MANY_REQUESTS, 42901));
    let (_third, _) = Stream::open(&carol, json!(3), &asked).await;
    assert_eq!(refused(&carol).await, (StatusCode::SERVICE_UNAVAILABLE, 50301));
    drop(first);
    // A client that leaves makes room, as soon as the gateway hears of it.
    let request = listen(json!(4), &asked);
    eventually(async || alice.open(&request).await.status == StatusCode::OK).await;
}

#[tokio::test]
async fn what_cannot_be_listened_to_is_refused() {
    let gateway = RunningGateway::start(config(embedded()));
    let client = gateway.client();
    let request = listen(json!(1), &json!({}));
    let json_only = request.clone().with_header("accept", Some("application/json"));
    let answer = client.post(&json_only.headers(), json_only.body()).await;
    assert_eq!((answer.status, &answer.json()["id"]), (StatusCode::NOT_ACCEPTABLE, &json!(1)));
    for params in [json!({}), json!({"notifications": {"resourceSubscriptions": "a"}})] {
        let answer = client.modern("subscriptions/listen", params).await;
        assert_eq!(
            (answer.status, &answer.error()["code"]),
            (StatusCode::BAD_REQUEST, &json!(-32602))
        );
    }
    // SEP-2663, "Task Status Notifications".
    let tasks = json!({"notifications": {"taskIds": ["btt_x"]}});
    assert_eq!(client.modern("subscriptions/listen", tasks).await.error()["code"], -32021);
    let legacy = client.legacy("subscriptions/listen", json!({"notifications": {}})).await;
    assert_eq!(legacy.error()["code"], -32601);
}

#[tokio::test]
async fn without_redis_a_replica_tells_its_own_and_afterwards_that_something_may_be_missed() {
    let mut cluster = Cluster::two_by_two().await;
    let id = cluster.client(0, ALICE).launch().await;
    let asked = json!({"toolsListChanged": true, "resourceSubscriptions": [uri_of(&id)]});
    let (mut here, _) = Stream::open(&cluster.client(0, ALICE), json!(1), &asked).await;
    let (mut there, _) = Stream::open(&cluster.client(1, ALICE), json!(1), &asked).await;
    cluster.redis.kill();
    cluster.client(0, ALICE).python(&id, "1").await;
    assert_eq!(here.told().await, updated(&id));
    cluster.redis.restart();
    for stream in [&mut here, &mut there] {
        assert_eq!(stream.told().await, (TOOLS.to_owned(), None));
        assert_eq!(stream.told().await, updated(&id));
    }
    eventually(async || {
        cluster.client(0, ALICE).python(&id, "1").await;
        timeout(Duration::from_secs(1), there.told()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_alone_was_without_redis_has_the_others_look_again() {
    let cluster = Cluster::start(1, 1, |_| {}).await;
    let proxy = Proxy::to(cluster.redis.address()).await;
    let directory = cluster.directory_at(proxy.address()).await;
    let cut_off = RunningGateway::start(Config { directory, ..cluster.gateway_config().await });
    eventually(async || cut_off.workers().await == 1).await;
    let id = cluster.client(0, ALICE).launch().await;
    let asked = json!({"resourceSubscriptions": [uri_of(&id)]});
    let (mut there, _) = Stream::open(&cluster.client(0, ALICE), json!(1), &asked).await;
    proxy.inject(Fault::Cut);
    cut_off.client().with_key(ALICE).python(&id, "1").await;
    tokio::time::sleep(OUTAGE).await;
    proxy.heal();
    assert_eq!(timeout(TOLD_WITHIN, there.told()).await.unwrap(), updated(&id));
}

#[tokio::test]
async fn with_one_gateway_and_no_keys_whoever_has_the_handle_is_told() {
    let cluster = Cluster::start(1, 1, |config: &mut Config| {
        config.credentials = baton::gateway::Credentials::Anonymous;
    })
    .await;
    let client = cluster.gateways[0].client();
    let id = client.launch().await;
    let asked = json!({"resourceSubscriptions": [uri_of(&id)], "resourcesListChanged": true});
    let (mut stream, acknowledged) = Stream::open(&client, json!(1), &asked).await;
    assert_eq!(acknowledged, asked);
    client.launch().await;
    client.python(&id, "1").await;
    assert_eq!(stream.told().await, updated(&id), "nobody's list changed");
}

#[tokio::test]
async fn an_upstream_that_was_never_heard_is_waited_for_only_where_that_could_help() {
    // Connections are taken in, and nobody reads them.
    let silent = std::net::TcpListener::bind(ANYWHERE).unwrap();
    let url = format!("http://{}/mcp", silent.local_addr().unwrap());
    let set = behind::set([behind::upstream_at("u", &url)]);
    let upstreams = set.subscribe();
    let gateway = RunningGateway::start(Config { upstreams, ..config(embedded()) });
    let client = gateway.client();
    let asked = json!({"toolsListChanged": true});
    tokio::select! {
        biased;
        _ = client.modern("server/discover", json!({})) => panic!("it waited as long as discovery does"),
        (_, acknowledged) = Stream::open(&client, json!(1), &asked) => {
            assert_eq!(acknowledged, asked);
        }
    }
    let get = json!({"taskId": "btt_x"});
    tokio::select! {
        biased;
        _ = client.modern("server/discover", json!({})) => panic!("it waited as long as discovery does"),
        answer = client.modern("tasks/get", get) => assert_eq!(answer.error()["code"], -32021),
    }
}

#[tokio::test]
async fn what_an_upstream_says_and_a_new_set_of_upstreams_are_told() {
    let upstream = UpstreamServer::modern().await;
    let set = behind::set([behind::upstream("u", &upstream)]);
    let gateway = behind::gateway(&set, |_| {});
    let asked = json!({"toolsListChanged": true, "resourcesListChanged": true});
    let (mut stream, acknowledged) = Stream::open(&gateway.client(), json!(1), &asked).await;
    assert_eq!(acknowledged["toolsListChanged"], true);
    eventually(async || upstream.streams() == 1).await;
    upstream.notify(TOOLS, &json!({}));
    assert_eq!(stream.told().await.0, TOOLS);
    set.send_replace(std::sync::Arc::from([]));
    assert_eq!(stream.told().await.0, TOOLS);
}
