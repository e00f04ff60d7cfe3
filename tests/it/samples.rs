//! The published samples' tools, on several replicas over a real Redis.

use std::collections::BTreeSet;

use baton::clock::Clock;
use baton::directory::{Directory, DirectoryConfig, open};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::cluster::{RunningGateway, config, embedded, keys};
use crate::mcp_client::McpClient;
use crate::redis_server::RedisServer;

struct Replicas {
    redis: RedisServer,
    gateways: Vec<RunningGateway>,
}

async fn replicas(count: usize) -> Replicas {
    let redis = RedisServer::start();
    let mut gateways = Vec::new();
    for _ in 0..count {
        let directory: Arc<dyn Directory> =
            open(&DirectoryConfig::Redis(redis.url()), Clock::system()).await;
        let mut config = config(directory);
        config.credentials = keys(&[("a", "t", "alice"), ("b", "t", "bob")]);
        gateways.push(RunningGateway::start(config));
    }
    Replicas { redis, gateways }
}

impl Replicas {
    fn client(&self, replica: usize, key: &str) -> McpClient {
        self.gateways[replica % self.gateways.len()].client().with_key(key)
    }
}

async fn add(client: &McpClient, tally: &Value, amount: i64) -> Value {
    let mut arguments = json!({"amount": amount});
    if tally.is_string() {
        arguments["tally"] = tally.clone();
    }
    client.succeed("tally", arguments).await
}

#[tokio::test]
async fn a_tally_goes_on_at_another_replica() {
    let replicas = replicas(3).await;
    let (mut tally, mut totals, mut served) = (Value::Null, Vec::new(), BTreeSet::new());
    for (replica, amount) in [10, 5, 100].into_iter().enumerate() {
        let answer = add(&replicas.client(replica, "a"), &tally, amount).await;
        totals.push(answer["total"].as_i64().unwrap());
        served.insert(answer["instance_id"].as_str().unwrap().to_owned());
        tally = answer["tally"].clone();
    }
    assert_eq!(totals, [10, 15, 115]);
    assert_eq!(served.len(), 3, "three replicas served");
}

#[tokio::test]
async fn an_old_handle_replayed_rolls_nothing_back() {
    let replicas = replicas(2).await;
    let old = add(&replicas.client(0, "a"), &Value::Null, 10).await["tally"].clone();
    add(&replicas.client(1, "a"), &old, 5).await;
    assert_eq!(add(&replicas.client(0, "a"), &old, 100).await["total"], 115);
}

#[tokio::test]
async fn an_operation_is_counted_once_wherever_it_is_repeated() {
    let replicas = replicas(2).await;
    let tally = add(&replicas.client(0, "a"), &Value::Null, 10).await["tally"].clone();
    let arguments = json!({"amount": 5, "tally": tally, "operationId": "op-1"});
    let first = replicas.client(0, "a").succeed("tally", arguments.clone()).await;
    let repeat = replicas.client(1, "a").succeed("tally", arguments).await;
    assert_eq!((&first["total"], &first["repeated"]), (&json!(15), &json!(false)));
    assert_eq!((&repeat["total"], &repeat["repeated"]), (&json!(15), &json!(true)));
    let new = json!({"amount": 1, "operationId": "begin-1"});
    let first = replicas.client(0, "a").succeed("tally", new.clone()).await;
    let repeat = replicas.client(1, "a").succeed("tally", new).await;
    assert_eq!(first["total"], repeat["total"], "a repeated beginning begins no second tally");
}

#[tokio::test]
async fn a_hundred_at_once_are_all_counted() {
    let replicas = replicas(3).await;
    let tally = add(&replicas.client(0, "a"), &Value::Null, 0).await["tally"].clone();
    let adds = (0..100).map(|n| {
        let (client, tally) = (replicas.client(n, "a"), tally.clone());
        async move { add(&client, &tally, 1).await["total"].as_i64().unwrap() }
    });
    let totals: BTreeSet<i64> = join_all(adds).await.into_iter().collect();
    assert_eq!(totals, (1..=100).collect(), "each addition saw a total of its own");
}

#[tokio::test]
async fn a_lost_tally_says_so_and_does_not_begin_again() {
    let replicas = replicas(2).await;
    let tally = add(&replicas.client(0, "a"), &Value::Null, 10).await["tally"].clone();
    replicas.redis.say("FLUSHALL");
    for replica in 0..2 {
        let arguments = json!({"amount": 1, "tally": tally});
        let (text, data) = replicas.client(replica, "a").fail("tally", arguments).await;
        assert!(text.contains("lost") && text.contains("does not begin at 0"), "{text}");
        assert_eq!(data["executed"], "no");
    }
}

#[tokio::test]
async fn a_tally_is_its_owners() {
    let replicas = replicas(1).await;
    let tally = add(&replicas.client(0, "a"), &Value::Null, 10).await["tally"].clone();
    let arguments = json!({"amount": 1, "tally": tally});
    let (text, _) = replicas.client(0, "b").fail("tally", arguments).await;
    assert!(text.contains("no such tally"), "{text}");
}

#[tokio::test]
async fn without_redis_a_tally_says_so_within_a_second() {
    let mut replicas = replicas(1).await;
    replicas.redis.kill();
    let began = std::time::Instant::now();
    let call = json!({"name": "tally", "arguments": {"amount": 1}});
    let answer = replicas.client(0, "a").modern("tools/call", call).await;
    assert!(began.elapsed().as_secs_f64() < 1.0, "{:?}", began.elapsed());
    assert_eq!(answer.status.as_u16(), 503);
    let error = answer.error();
    assert_eq!((&error["code"], &error["data"]["retryable"]), (&json!(50303), &json!(true)));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn primes_and_facts() {
    let gateway = RunningGateway::start(config(embedded()));
    let client = gateway.client();
    let primes = client.succeed("compute_primes", json!({"limit": 1000})).await;
    assert_eq!(primes["prime_count"], 168);
    assert_eq!(client.succeed("lookup_fact", json!({"topic": "mcp"})).await["found"], true);
    let (text, data) = client.fail("lookup_fact", json!({})).await;
    assert!(text.contains("topic"), "{text}");
    assert_eq!(data["executed"], "no");
}

#[tokio::test]
async fn the_samples_are_there_only_when_they_are_asked_for() {
    let mut config = config(embedded());
    config.tools.samples = false;
    let gateway = RunningGateway::start(config);
    let call = json!({"name": "whoami", "arguments": {}});
    assert_eq!(gateway.client().modern("tools/call", call).await.status.as_u16(), 400);
    let list = gateway.client().modern("tools/list", json!({})).await.result();
    assert_eq!(list["tools"].as_array().unwrap().len(), 6);
}
