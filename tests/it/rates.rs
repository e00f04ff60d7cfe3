//! Rates and calls in flight, over the wire.

use std::time::Duration;

use baton::gateway::{Method, Rate, Tool};
use serde_json::json;

use crate::cluster::{RunningGateway, config, embedded, keys, number};
use crate::mcp_client::{Answer, McpClient};

fn slow(burst: u32) -> Rate {
    Rate { interval: Duration::from_mins(1), burst: number(burst) }
}

async fn whoami(client: &McpClient) -> Answer {
    client.modern("tools/call", json!({"name": "whoami", "arguments": {}})).await
}

#[tokio::test]
async fn a_tools_rate_is_refused_with_when_to_come_back() {
    let mut config = config(embedded());
    config.rates.tools = vec![(Tool::Whoami, slow(2))];
    let gateway = RunningGateway::start(config);
    let client = gateway.client();
    assert_eq!(whoami(&client).await.status.as_u16(), 200);
    assert_eq!(whoami(&client).await.status.as_u16(), 200);
    let refused = whoami(&client).await;
    assert_eq!(refused.status.as_u16(), 429);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let error = refused.error();
    assert_eq!(error["code"], 42901);
    assert_eq!(
        (&error["data"]["executed"], &error["data"]["retryable"]),
        (&json!("no"), &json!(true))
    );
    assert!(error["data"]["retryAfterMs"].as_u64().unwrap() > 0);
    let other =
        client.modern("tools/call", json!({"name": "lookup_fact", "arguments": {"topic": "mcp"}}));
    assert_eq!(other.await.status.as_u16(), 200, "another tool has a rate of its own");
}

#[tokio::test]
async fn a_legacy_client_is_refused_with_http_200() {
    let mut config = config(embedded());
    config.rates.tools = vec![(Tool::Whoami, slow(1))];
    let gateway = RunningGateway::start(config);
    let client = gateway.client();
    client.legacy("tools/call", json!({"name": "whoami"})).await;
    let refused = client.legacy("tools/call", json!({"name": "whoami"})).await;
    assert_eq!((refused.status.as_u16(), &refused.error()["code"]), (200, &json!(42901)));
}

#[tokio::test]
async fn tenants_do_not_use_up_each_others_rates() {
    let mut config = config(embedded());
    config.rates.tenant = Some(slow(2));
    config.credentials = keys(&[("a", "one", "x"), ("b", "two", "x")]);
    let gateway = RunningGateway::start(config);
    let (one, two) = (gateway.client().with_key("a"), gateway.client().with_key("b"));
    for status in [200, 200, 429] {
        assert_eq!(whoami(&one).await.status.as_u16(), status);
    }
    assert_eq!(whoami(&two).await.status.as_u16(), 200);
}

#[tokio::test]
async fn lists_are_limited_and_discover_and_initialize_are_not() {
    let mut config = config(embedded());
    config.rates.tenant = Some(slow(1));
    config.rates.methods = vec![(Method::ListTools, slow(1))];
    let gateway = RunningGateway::start(config);
    let client = gateway.client();
    assert_eq!(client.modern("tools/list", json!({})).await.status.as_u16(), 200);
    assert_eq!(client.modern("tools/list", json!({})).await.status.as_u16(), 429);
    for _ in 0..20 {
        assert_eq!(client.modern("server/discover", json!({})).await.status.as_u16(), 200);
        assert_eq!(client.legacy("initialize", json!({})).await.status.as_u16(), 200);
    }
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
    let answers = futures_util::future::join_all(calls).await;
    let shed: Vec<_> = answers.iter().filter(|it| it.status.as_u16() == 503).collect();
    assert!(!shed.is_empty() && shed.len() < 6, "{} of 6 were shed", shed.len());
    let error = shed[0].error();
    assert_eq!((&error["code"], &error["data"]["overloaded"]), (&json!(50301), &json!(true)));
    assert!(shed[0].header("retry-after").is_some());
}
