//! Whom a worker believes.

use std::time::Duration;

use baton::clock::Clock;
use baton::domain::ids::{Incarnation, Timestamp};
use baton::domain::keyring::{SecretKey, WorkerKey};
use baton::rpc::auth::{Link, Outgoing};
use baton::rpc::client::{Peer, TraceHeaders, WorkerClient, WorkerError};
use baton::rpc::wire::{FIND, FindReply, FindRequest, Refusal};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::site::{SOON, Site, Worker, key};

async fn find(client: &WorkerClient, peer: &Peer, id: &str) -> Result<FindReply, WorkerError> {
    let request = FindRequest { environment: id.to_owned() };
    client.find(peer, &request, SOON, &TraceHeaders::default()).await
}

const UNKNOWN: &str = "00112233445566778899aabbccddeeff";

#[tokio::test]
async fn only_who_has_the_key_is_answered() {
    let site = Site::new();
    let worker = site.worker().await;
    let client = &worker.caller.client;
    let url = &worker.addresses.rpc;
    let stranger = Peer::new(url.clone(), key("w2"), worker.addresses.incarnation);
    let error = find(client, &stranger, UNKNOWN).await.unwrap_err();
    assert!(matches!(error, WorkerError::Untrusted { .. }), "{error:?}");
    let earlier = Incarnation(worker.addresses.incarnation.0 - 1);
    let outdated = Peer::new(url.clone(), key("w1"), earlier);
    let error = find(client, &outdated, UNKNOWN).await.unwrap_err();
    let right = Refusal::WrongIncarnation { incarnation: worker.addresses.incarnation.0 };
    assert!(matches!(&error, WorkerError::Refused(it) if *it == right), "{error:?}");
    let error = find(client, &worker.caller.peer, "no id").await.unwrap_err();
    assert!(matches!(error, WorkerError::Refused(Refusal::Malformed)), "{error:?}");
    assert_eq!(find(client, &worker.caller.peer, UNKNOWN).await.unwrap(), FindReply::NotMine);
}

#[tokio::test]
async fn a_call_under_another_roots_key_is_refused_unread_and_sent_again_under_the_workers() {
    let site = Site::new();
    let worker = site.worker().await;
    let (client, url) = (&worker.caller.client, &worker.addresses.rpc);
    let of_root = |byte| WorkerKey::derive(&SecretKey::from_bytes([byte; 32]), key("w1").worker());
    let this = worker.addresses.incarnation;
    let peer = |incarnation| Peer::new(url.clone(), of_root(8), incarnation);
    for unknown in [peer(this), peer(this).or_keys([of_root(8), of_root(9)])] {
        let error = find(client, &unknown, UNKNOWN).await.unwrap_err();
        assert!(matches!(error, WorkerError::Untrusted { .. }), "{error:?}");
    }
    let rotating = peer(this).or_keys([of_root(8), key("w1")]);
    for _ in 0..2 {
        assert_eq!(find(client, &rotating, UNKNOWN).await.unwrap(), FindReply::NotMine);
    }
    let earlier = peer(Incarnation(this.0 - 1)).or_keys([of_root(8), key("w1")]);
    let error = find(client, &earlier, UNKNOWN).await.unwrap_err();
    let right = Refusal::WrongIncarnation { incarnation: this.0 };
    assert!(matches!(&error, WorkerError::Refused(it) if *it == right), "{error:?}");
}

#[tokio::test]
async fn a_gateway_with_another_time_learns_the_workers() {
    let site = Site::new();
    let worker = site.worker().await;
    for other in [0, 4_000_000_000_000] {
        let client = WorkerClient::new(Clock::manual(Timestamp::from_millis(other)));
        for _ in 0..2 {
            assert_eq!(
                find(&client, &worker.caller.peer, UNKNOWN).await.unwrap(),
                FindReply::NotMine
            );
        }
    }
}

#[tokio::test]
async fn a_worker_with_another_time_is_heard() {
    let site = Site::new();
    let mut config = site.config();
    config.clock = Clock::manual(Timestamp::from_millis(1_000_000));
    let _worker = Worker::start(config).await;
    site.gateway.hears(|beat| beat.environments == 0).await;
}

/// Sends a sealed request by hand and returns the status.
async fn send(worker: &Worker, headers: &HeaderMap, body: &'static [u8]) -> StatusCode {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let url = format!("{}{FIND}", worker.addresses.rpc);
    let mut request = Request::post(url).body(Full::new(Bytes::from_static(body))).unwrap();
    request.headers_mut().extend(headers.clone());
    client.request(request).await.unwrap().status()
}

fn seal(worker: &Worker, time: Timestamp, body: &[u8]) -> HeaderMap {
    let key = key("w1");
    let outgoing = Outgoing {
        link: Link::Call,
        key: &key,
        incarnation: worker.addresses.incarnation,
        method: &Method::POST,
        path: FIND,
        deadline: SOON,
        body,
    };
    let mut headers = HeaderMap::new();
    outgoing.seal(&mut headers, time);
    headers
}

#[tokio::test]
async fn copies_and_forgeries_are_refused() {
    const BODY: &[u8] = br#"{"environment":"00112233445566778899aabbccddeeff"}"#;
    const OTHER: &[u8] = br#"{"environment":"ff112233445566778899aabbccddeeff"}"#;
    let site = Site::new();
    let worker = site.worker().await;
    let now = site.clock.now();
    let headers = seal(&worker, now, BODY);
    assert_eq!(send(&worker, &headers, OTHER).await, StatusCode::UNAUTHORIZED, "altered");
    assert_eq!(send(&worker, &headers, BODY).await, StatusCode::OK);
    assert_eq!(send(&worker, &headers, BODY).await, StatusCode::UNAUTHORIZED, "replayed");
    let old = Timestamp::from_millis(now.as_millis() - 31_000);
    let stale = seal(&worker, old, BODY);
    assert_eq!(send(&worker, &stale, BODY).await, StatusCode::UNAUTHORIZED, "stale");
    let early = seal(&worker, now.after(Duration::from_secs(31)), BODY);
    assert_eq!(send(&worker, &early, BODY).await, StatusCode::UNAUTHORIZED, "from the future");
    assert_eq!(send(&worker, &HeaderMap::new(), BODY).await, StatusCode::UNAUTHORIZED, "unsealed");
}
