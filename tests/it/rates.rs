//! Rates and calls in flight, over the wire.

#![expect(clippy::unwrap_used, reason = "a test whose gateway does not answer has failed")]

use std::time::{Duration, Instant};

use baton::gateway::{Method, Rate, RateLimit, Upstream};
use futures_util::future::{join_all, ready};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::cluster::{Cluster, RunningGateway, config, embedded, eventually, keys, number};
use crate::mcp_client::{Answer, McpClient};
use crate::upstream_server::{UpstreamServer, tool};
use crate::upstreams::{set, upstream};

fn a_minute_each(burst: u32) -> Rate {
    Rate::new(Duration::from_mins(1), number(burst))
}

fn slow(burst: u32) -> RateLimit {
    RateLimit::shared(a_minute_each(burst))
}

fn of_tool(name: &str, limit: RateLimit) -> Vec<(String, RateLimit)> {
    vec![(name.to_owned(), limit)]
}

async fn whoami(client: &McpClient) -> Answer {
    client.modern("tools/call", json!({"name": "whoami", "arguments": {}})).await
}

/// How many of so many calls pass, sent through these, a few at once: a Redis that is late is as good as away.
async fn passed(clients: &[McpClient], calls: usize) -> usize {
    let calls = stream::iter(clients.iter().cycle().take(calls)).map(whoami).buffer_unordered(8);
    calls.filter(|it| ready(it.status.as_u16() == 200)).count().await
}

/// The members of a list of structured-field strings with number parameters.
fn members<'a>(answer: &'a Answer, header: &str) -> Vec<(&'a str, Vec<(&'a str, u64)>)> {
    let items = answer.header(header).unwrap_or_default().split(", ");
    let item = |item: &'a str| {
        let mut parts = item.split(';');
        let name = parts.next().unwrap().strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        let parameter = |part: &'a str| {
            let (key, value) = part.split_once('=').unwrap();
            (key, value.parse().unwrap())
        };
        (name, parts.map(parameter).collect())
    };
    items.filter(|it| !it.is_empty()).map(item).collect()
}

/// What is left of one rate.
fn left(answer: &Answer, name: &str) -> u64 {
    let all = members(answer, "ratelimit");
    let (_, parameters) = all.iter().find(|it| it.0 == name).unwrap();
    parameters.iter().find(|it| it.0 == "r").unwrap().1
}

#[tokio::test]
async fn a_tools_rate_is_refused_with_when_to_come_back() {
    let mut config = config(embedded());
    config.rates.tools = of_tool("whoami", slow(2));
    let gateway = RunningGateway::start(config);
    let client = gateway.client();
    for rest in [1, 0] {
        let answer = whoami(&client).await;
        assert_eq!((answer.status.as_u16(), left(&answer, "tool:whoami")), (200, rest));
    }
    let refused = whoami(&client).await;
    assert_eq!(refused.status.as_u16(), 429);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let policy = vec![("tool:whoami", vec![("q", 2), ("w", 120)])];
    assert_eq!(members(&refused, "ratelimit-policy"), policy);
    let t = members(&refused, "ratelimit")[0].1[1];
    assert_eq!((left(&refused, "tool:whoami"), t), (0, ("t", seconds)));
    let error = refused.error();
    assert_eq!(error["code"], 42901);
    let wait = error["data"]["retryAfterMs"].as_u64().unwrap();
    assert!((1..=seconds * 1000).contains(&wait), "{wait}");
    let data =
        json!({"executed": "no", "retryable": true, "overloaded": false, "retryAfterMs": wait});
    assert_eq!(error["data"], data);
    let other =
        client.modern("tools/call", json!({"name": "lookup_fact", "arguments": {"topic": "mcp"}}));
    let other = other.await;
    assert_eq!(other.status.as_u16(), 200, "another tool has a rate of its own");
    assert_eq!(other.header("ratelimit"), None, "where nothing limits, nothing is told");
}

#[tokio::test]
async fn a_legacy_client_is_refused_with_http_200() {
    let mut config = config(embedded());
    config.rates.tools = of_tool("whoami", slow(1));
    let gateway = RunningGateway::start(config);
    let client = gateway.client();
    client.legacy("tools/call", json!({"name": "whoami"})).await;
    let refused = client.legacy("tools/call", json!({"name": "whoami"})).await;
    assert_eq!((refused.status.as_u16(), &refused.error()["code"]), (200, &json!(42901)));
    assert_eq!(left(&refused, "tool:whoami"), 0);
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test]
async fn tenants_and_subjects_do_not_use_up_each_others_rates() {
    let mut config = config(embedded());
    config.rates.tenant = Some(slow(4));
    config.rates.subject = Some(slow(2));
    config.credentials = keys(&[("a", "one", "x"), ("b", "one", "y"), ("c", "two", "x")]);
    let gateway = RunningGateway::start(config);
    let client = |key| gateway.client().with_key(key);
    for status in [200, 200, 429, 429, 429, 429] {
        assert_eq!(whoami(&client("a")).await.status.as_u16(), status);
    }
    let answer = whoami(&client("b")).await;
    assert_eq!((left(&answer, "subject"), left(&answer, "tenant")), (1, 1));
    assert_eq!(whoami(&client("b")).await.status.as_u16(), 200);
    assert_eq!(left(&whoami(&client("c")).await, "tenant"), 3);
}

#[tokio::test]
async fn lists_are_limited_and_discover_and_initialize_are_not() {
    let mut config = config(embedded());
    config.rates.tenant = Some(slow(9));
    config.rates.methods = vec![(Method::ListTools, slow(1))];
    let gateway = RunningGateway::start(config);
    let client = gateway.client();
    let list = client.modern("tools/list", json!({})).await;
    assert_eq!((list.status.as_u16(), left(&list, "method:tools/list")), (200, 0));
    assert_eq!(left(&list, "tenant"), 8);
    assert_eq!(client.modern("tools/list", json!({})).await.status.as_u16(), 429);
    for _ in 0..20 {
        assert_eq!(client.modern("server/discover", json!({})).await.status.as_u16(), 200);
        let initialized = client.legacy("initialize", json!({})).await;
        assert_eq!(initialized.status.as_u16(), 200);
        assert!(client.legacy("ping", json!({})).await.result().is_object());
    }
    assert_eq!(left(&whoami(&client).await, "tenant"), 7);
}

#[tokio::test]
async fn what_is_not_replied_to_counts_and_is_refused_like_the_rest() {
    let mut config = config(embedded());
    config.rates.tenant = Some(slow(2));
    let gateway = RunningGateway::start(config);
    let client = gateway.client();
    let headers = [("content-type", "application/json"), ("accept", "*/*")];
    let notification = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let answer = json!({"jsonrpc": "2.0", "id": "nobody asked", "result": {}});
    for (posted, rest) in [(&notification, 1), (&answer, 0)] {
        let taken = client.post(&headers, posted.to_string()).await;
        assert_eq!((taken.status.as_u16(), left(&taken, "tenant")), (202, rest));
        assert!(taken.body.is_empty());
    }
    for posted in [notification, answer] {
        let refused = client.post(&headers, posted.to_string()).await;
        assert_eq!((refused.status.as_u16(), left(&refused, "tenant")), (429, 0));
        assert!(refused.header("retry-after").is_some());
        assert!(refused.json().get("id").is_none_or(serde_json::Value::is_null));
        assert_eq!(refused.error()["code"], 42901);
    }
    assert_eq!(whoami(&client).await.status.as_u16(), 429);
}

#[tokio::test]
async fn an_upstreams_tool_has_a_rate_by_its_name_in_the_list() {
    let server = UpstreamServer::modern().await;
    server.offer(&[tool("echo"), tool("other")]);
    let prefix = "up_".to_owned();
    let upstreams = set([Upstream { prefix, ..upstream("u", &server) }]);
    let mut config = config(embedded());
    config.upstreams = upstreams.subscribe();
    config.rates.tools = of_tool("up_echo", slow(1));
    let gateway = RunningGateway::start(config);
    let call = async |name: &str| {
        gateway.client().modern("tools/call", json!({"name": name, "arguments": {}})).await
    };
    let first = call("up_echo").await;
    assert_eq!((first.status.as_u16(), left(&first, "tool:up_echo")), (200, 0));
    assert_eq!(call("up_echo").await.error()["code"], 42901);
    assert_eq!(server.received_of("tools/call").len(), 1);
    assert_eq!(call("up_other").await.status.as_u16(), 200);
}

/// Two replicas over one Redis that have heard of each other, whose callers have a tenant each.
async fn two_replicas(tenants: &[&str], limit: RateLimit) -> Cluster {
    let callers: Vec<_> = tenants.iter().map(|name| (*name, *name, "x")).collect();
    Cluster::start(2, 0, |config| {
        config.rates.tools = of_tool("whoami", limit);
        config.rates.subject = Some(slow(1000));
        config.credentials = keys(&callers);
    })
    .await
}

/// Waits until each replica knows that there are two.
async fn know_each_other(cluster: &Cluster, key: &str) {
    for replica in 0..2 {
        let client = cluster.client(replica, key);
        let lists = async || client.modern("tools/list", json!({})).await;
        eventually(async || left(&lists().await, "subject") < 500).await;
    }
}

fn both(cluster: &Cluster, key: &str) -> [McpClient; 2] {
    [cluster.client(0, key), cluster.client(1, key)]
}

#[tokio::test]
async fn two_replicas_share_a_rate() {
    let cluster = two_replicas(&["probe", "a"], slow(10)).await;
    know_each_other(&cluster, "probe").await;
    assert_eq!(passed(&both(&cluster, "a"), 100).await, 10);
    assert_eq!(passed(&both(&cluster, "a")[..1], 10).await, 0);
}

#[tokio::test]
async fn a_global_rate_is_exact_over_two_replicas() {
    let each = Duration::from_millis(100);
    let limit = RateLimit::global(Rate::new(each, number(20)));
    let cluster = two_replicas(&["a", "b"], limit).await;
    let began = Instant::now();
    let passed = passed(&both(&cluster, "a"), 200).await;
    let most = 20 + began.elapsed().as_millis() / each.as_millis() + 1;
    assert!((20..=most).contains(&(passed as u128)), "{passed} of {most}");
    // Either replica counts what passes the other.
    let [one, other] = both(&cluster, "b");
    for (client, rest) in [(&one, 19), (&other, 18), (&other, 17), (&one, 16)] {
        let answer = whoami(client).await;
        let rests = rest..=rest + u64::try_from(began.elapsed().as_millis() / 100).unwrap();
        assert!(rests.contains(&left(&answer, "tool:whoami")), "{answer:?}");
    }
}

#[tokio::test]
async fn who_sends_much_at_once_uses_up_no_more_of_the_tenants_rate_than_may_pass() {
    let cluster = Cluster::start(1, 0, |config| {
        config.rates.subject = Some(slow(1));
        config.rates.tenant = Some(RateLimit::global(a_minute_each(9)));
        config.credentials = keys(&[("a", "one", "x"), ("b", "one", "y")]);
    })
    .await;
    let noisy = cluster.client(0, "a");
    let answers = join_all((0..60).map(|_| whoami(&noisy))).await;
    assert_eq!(answers.iter().filter(|it| it.status.as_u16() == 200).count(), 1);
    let quiet = whoami(&cluster.client(0, "b")).await;
    assert_eq!((quiet.status.as_u16(), left(&quiet, "tenant")), (200, 7), "one of each");
}

#[tokio::test]
async fn a_global_rate_is_held_in_shares_while_redis_is_away() {
    let names: Vec<String> = (0..200).map(|number| format!("t{number}")).collect();
    let mut names = names.iter().map(String::as_str).chain(["probe", "a"]).collect::<Vec<_>>();
    let mut cluster = two_replicas(&names, RateLimit::global(a_minute_each(8))).await;
    know_each_other(&cluster, "probe").await;
    for rest in [7, 6] {
        assert_eq!(left(&whoami(&cluster.client(0, "a")).await, "tool:whoami"), rest);
    }
    cluster.redis.kill();
    let mut passed = [0, 0];
    for _ in 0..10 {
        for (replica, passed) in passed.iter_mut().enumerate() {
            let began = Instant::now();
            let answer = whoami(&cluster.client(replica, "a")).await;
            assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
            assert!([200, 429].contains(&answer.status.as_u16()), "{answer:?}");
            *passed += u32::from(answer.status.as_u16() == 200);
        }
    }
    // A share is four. A quarter of it was in use at the replica that had counted two of eight.
    assert_eq!(passed, [3, 4]);
    cluster.redis.restart();
    eventually(async || {
        let key = names.pop().expect("it takes fewer attempts");
        let [one, other] = both(&cluster, key);
        let first = left(&whoami(&one).await, "tool:whoami");
        (first, left(&whoami(&other).await, "tool:whoami")) == (7, 6)
    })
    .await;
}

#[tokio::test]
async fn one_more_call_in_flight_than_may_be_is_shed() {
    let mut config = config(embedded());
    config.in_flight.calls = 1;
    let gateway = RunningGateway::start(config);
    let busy = json!({"name": "compute_primes", "arguments": {"limit": 5_000_000}});
    let calls = (0..6).map(|_| {
        let (client, busy) = (gateway.client(), busy.clone());
        async move { client.modern("tools/call", busy).await }
    });
    let answers = join_all(calls).await;
    let shed: Vec<_> = answers.iter().filter(|it| it.status.as_u16() == 503).collect();
    assert!(!shed.is_empty() && shed.len() < 6, "{} of 6 were shed", shed.len());
    let error = shed[0].error();
    assert_eq!((&error["code"], &error["data"]["overloaded"]), (&json!(50301), &json!(true)));
    assert!(shed[0].header("retry-after").is_some());
}
