//! What browsers are told: pages of allowed origins may send what clients send and read what they need, others nothing.

use http::StatusCode;
use serde_json::json;

use baton::gateway::Config;

use crate::cluster::{RunningGateway, config, embedded, keys};
use crate::mcp_client::{Answer, Modern};

const APP: &str = "https://app.example";
const FOREIGN: &str = "https://evil.example";
const METHOD: &str = "access-control-request-method";
const HEADERS: &str = "access-control-request-headers";

/// A gateway that asks for a key and serves the pages of one origin.
fn gateway(bend: impl FnOnce(&mut Config)) -> RunningGateway {
    let mut config = config(embedded());
    config.credentials = keys(&[("secret", "t", "s")]);
    config.allowed_origins = vec![APP.to_owned()];
    bend(&mut config);
    RunningGateway::start(config)
}

async fn preflight(gateway: &RunningGateway, headers: &[(&str, &str)]) -> Answer {
    gateway.client().send("OPTIONS", headers, "").await
}

fn discover(origin: Option<&str>) -> Modern {
    Modern::new("server/discover", json!({})).with_header("origin", origin)
}

async fn sent(gateway: &RunningGateway, request: &Modern, key: &str) -> Answer {
    gateway.client().with_key(key).post(&request.headers(), request.body()).await
}

fn list(answer: &Answer, name: &str) -> Vec<String> {
    let values = answer.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(", ")).map(str::to_owned).collect()
}

/// The headers of an answer that only a browser reads.
fn cors(answer: &Answer) -> Vec<&str> {
    let names = answer.headers.keys().map(http::HeaderName::as_str);
    names.filter(|name| name.starts_with("access-control-")).collect()
}

#[tokio::test]
async fn a_preflight_needs_no_key_and_the_request_after_it_does() {
    let gateway = gateway(|_| {});
    let wanted = "authorization,content-type,mcp-method,mcp-name,mcp-param-region,mcp-protocol-version,x-ms-apikey";
    for method in ["POST", "GET", "DELETE"] {
        let asked = [("origin", APP), (METHOD, method), (HEADERS, wanted)];
        let answer = preflight(&gateway, &asked).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0), "{method}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        assert_eq!(answer.header("access-control-max-age"), Some("7200"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert!(list(&answer, "access-control-allow-methods").contains(&method.to_owned()));
        let allowed = list(&answer, "access-control-allow-headers");
        for name in wanted.split(',') {
            assert!(allowed.contains(&name.to_owned()), "{name} of {allowed:?}");
        }
        assert_eq!(list(&answer, "vary"), [METHOD, HEADERS, "origin"]);
    }
    assert_eq!(sent(&gateway, &discover(Some(APP)), "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(sent(&gateway, &discover(Some(APP)), "secret").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_page_may_read_every_answer_whatever_its_status() {
    let gateway = gateway(|config| config.max_body_bytes = 1000);
    let client = gateway.client().with_key("secret");
    let from_app = [("origin", APP)];
    let stranger = discover(Some(APP)).with_header("host", Some("evil.example"));
    let stream = Modern::new("subscriptions/listen", json!({"notifications": {}}))
        .with_header("origin", Some(APP));
    let unknown = Modern::new("no/such", json!({})).with_header("origin", Some(APP));
    let open = client.open(&stream).await;
    assert_eq!(open.headers["access-control-allow-origin"], APP);
    for (answer, status) in [
        (sent(&gateway, &discover(Some(APP)), "secret").await, StatusCode::OK),
        (sent(&gateway, &discover(Some(APP)), "wrong").await, StatusCode::UNAUTHORIZED),
        (sent(&gateway, &stranger, "secret").await, StatusCode::FORBIDDEN),
        (sent(&gateway, &unknown, "secret").await, StatusCode::NOT_FOUND),
        (client.send("GET", &from_app, "").await, StatusCode::METHOD_NOT_ALLOWED),
        (client.send("DELETE", &from_app, "").await, StatusCode::METHOD_NOT_ALLOWED),
        (client.send("OPTIONS", &from_app, "").await, StatusCode::METHOD_NOT_ALLOWED),
        (
            client.post(&discover(Some(APP)).headers(), vec![b' '; 1001]).await,
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        (
            client.at(&gateway.url.replace("/mcp", "/health")).send("GET", &from_app, "").await,
            StatusCode::OK,
        ),
        (
            client.at(&gateway.url.replace("/mcp", "/none")).send("GET", &from_app, "").await,
            StatusCode::NOT_FOUND,
        ),
    ] {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{status}");
        assert_eq!(
            list(&answer, "access-control-expose-headers"),
            ["baton-replica", "ratelimit", "ratelimit-policy", "retry-after", "www-authenticate"]
        );
        assert_eq!(answer.header("vary"), Some("origin"), "{status}");
        assert!(answer.header("baton-replica").is_some(), "{status}");
    }
}

#[tokio::test]
async fn guessing_from_a_page_ends_in_a_429_that_it_may_read() {
    let gateway = gateway(|_| {});
    loop {
        let answer = sent(&gateway, &discover(Some(APP)), "wrong").await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(APP));
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.header("retry-after").is_some());
            break;
        }
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}

// transport, "Security & Endpoint" 1.
#[tokio::test]
async fn a_foreign_origin_gets_403_and_not_a_word_for_its_browser() {
    for named in [true, false] {
        let gateway = gateway(|config| {
            if !named {
                config.allowed_origins.clear();
            }
        });
        for origin in [FOREIGN, "null", "https://app.example.evil", "http://app.example", "*", ""] {
            let asked = [("origin", origin), (METHOD, "POST"), (HEADERS, "content-type")];
            for answer in [
                preflight(&gateway, &asked).await,
                sent(&gateway, &discover(Some(origin)), "secret").await,
                gateway.client().send("GET", &asked[..1], "").await,
            ] {
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin} {named}");
                assert!(cors(&answer).is_empty(), "{origin} {named}: {answer:?}");
            }
        }
        let two = [("origin", APP), ("origin", FOREIGN), (METHOD, "POST")];
        let answer = preflight(&gateway, &two).await;
        assert_eq!((answer.status, cors(&answer).len()), (StatusCode::FORBIDDEN, 0));
        let rebound = [("origin", APP), ("host", "evil.example"), (METHOD, "POST")];
        assert_eq!(preflight(&gateway, &rebound).await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn who_is_no_browser_is_told_nothing_of_origins() {
    let gateway = gateway(|_| {});
    let answer = sent(&gateway, &discover(None), "secret").await;
    assert_eq!((answer.status, cors(&answer).len()), (StatusCode::OK, 0));
    // Yet a cache must know that a page would have been told more.
    assert_eq!(answer.header("vary"), Some("origin"));
    let answer = preflight(&gateway, &[(METHOD, "POST")]).await;
    assert_eq!((answer.status, cors(&answer).len()), (StatusCode::METHOD_NOT_ALLOWED, 0));
}

#[tokio::test]
async fn the_hosts_own_pages_are_served_without_leave() {
    let gateway = gateway(|_| {});
    let own = gateway.url.strip_suffix("/mcp").unwrap_or_default().to_owned();
    let answer = sent(&gateway, &discover(Some(&own)), "secret").await;
    assert_eq!((answer.status, cors(&answer).len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn the_operator_may_add_headers_and_say_how_long_a_preflight_holds() {
    let gateway = gateway(|config| {
        config.cors.allowed_headers = vec!["x-tenant".parse().expect("it is a name")];
        config.cors.exposed_headers = vec!["x-request-id".parse().expect("it is a name")];
        config.cors.max_age = std::time::Duration::from_secs(5);
    });
    let asked =
        [("origin", "https://APP.example"), (METHOD, "POST"), (HEADERS, "x-tenant,x-other")];
    let answer = preflight(&gateway, &asked).await;
    // The very text that came: browsers compare it byte by byte.
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://APP.example"));
    assert_eq!(answer.header("access-control-max-age"), Some("5"));
    let allowed = list(&answer, "access-control-allow-headers");
    assert!(allowed.contains(&"x-tenant".to_owned()), "{allowed:?}");
    assert!(!allowed.contains(&"x-other".to_owned()), "{allowed:?}");
    let answer = sent(&gateway, &discover(Some(APP)), "secret").await;
    assert!(list(&answer, "access-control-expose-headers").contains(&"x-request-id".to_owned()));
}
