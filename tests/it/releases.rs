//! Two releases side by side, as a rolling upgrade has them: what the first one wrote and sent is read to the letter,
//! and what a later one adds is passed over. `tests/fixtures/releases/N` stays as that release left it; a change that fails
//! here needs a new version beside the old one. (What a worker left on its disk: `worker::releases`.)

#![expect(clippy::unwrap_used, reason = "a fixture that does not read has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use baton::clock::Clock;
use baton::directory::{Beat, DirectoryConfig, Reservation, open};
use baton::domain::handle::Handle;
use baton::domain::ids::{
    EnvironmentId, Incarnation, Name, Principal, TenantDigest, Timestamp, WorkerId,
};
use baton::domain::keyring::{Keyring, SecretKey, WorkerKey};
use baton::domain::placement::{Epoch, Holding, Placement, WorkerReport, WorkerState};
use baton::domain::sealed::{self, Kind};
use baton::domain::ticket::Ticket;
use baton::rpc::task::{CancelTaskRequest, DetachRequest, TaskReply, TaskRequest};
use baton::rpc::wire::{
    CancelRequest, CloseRequest, CreateReply, CreateRequest, Done, ExecuteRequest, FindReply,
    FindRequest, Heartbeat, HeartbeatReply, ListReply, ListRequest, Refusal,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::redis_server::RedisServer;

const HOUR: Duration = Duration::from_hours(1);

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/releases/1");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn keys() -> Keyring {
    Keyring::new("baton", &[SecretKey::from_bytes([1; 32])]).unwrap()
}

fn alice() -> Principal {
    Principal::verified(Name::parse("tenant").unwrap(), Name::parse("alice").unwrap())
}

#[test]
fn tokens_of_the_first_release_are_good() {
    let (keys, now) = (keys(), Timestamp::from_millis(1_795_250_494_000));
    let handle = Handle::<EnvironmentId>::open(FIRST_HANDLE, &alice(), &keys, now).unwrap();
    assert_eq!(handle.id(), EnvironmentId::from_bytes([7; 16]));
    assert_eq!(handle.seal(&alice(), &keys), FIRST_HANDLE, "an older replica opens ours");

    let opened = sealed::open(Kind::RequestState, FIRST_STATE, &alice(), b"request", &keys, now);
    assert_eq!(opened.unwrap(), b"payload");

    let holding = Holding {
        environment: EnvironmentId::from_bytes([7; 16]),
        tenant: alice().tenant_digest(),
        owner: alice().owner_digest(),
        placement: Placement { worker: WorkerId::parse("w1").unwrap(), epoch: Epoch::FIRST },
        not_after: now.after(HOUR),
    };
    let ticket = Ticket::seal(&holding, &keys).to_bytes();
    assert_eq!(hexadecimal(&ticket), FIRST_TICKET);

    let worker = WorkerId::parse("w1").unwrap();
    let key = WorkerKey::derive(&SecretKey::from_bytes([2; 32]), &worker).reveal();
    assert_eq!(key, FIRST_WORKER_KEY);
}

const FIRST_HANDLE: &str = "bte_AcYAAwcHBwcHBwcHBwcHBwcHBwcAawFnTgObkaByGcrwfoSu3NFDhfr1RARa";
const FIRST_STATE: &str = "bts_AcYAawFnTnBheWxvYWS4xW9beNKwnryQ2ElmHGR__v14TA";
const FIRST_TICKET: &str = "c6c364206efc0922e6e8cccb9d7d31b290fcbacfbf";
const FIRST_WORKER_KEY: &str = "w1:mz2eT1uCw+Ae9FrZfuqT3whmHLFfXnvtVeoVEWIM3J4=";

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[tokio::test]
async fn what_the_first_release_left_in_redis_is_read() {
    let (server, clock) = (RedisServer::start(), Clock::system());
    let (now, later) = (clock.now(), clock.now().after(HOUR));
    for line in fixture("redis.txt").lines() {
        let line = line.replace("NOW", &now.as_millis().to_string());
        let said = server.say(&line.replace("LATER", &later.as_millis().to_string()));
        assert!(said.starts_with(':'), "{line}: {said}");
    }
    let directory = open(&DirectoryConfig::Redis(server.url()), clock).await;
    let fleet = directory.fleet().await.unwrap();
    let report = WorkerReport {
        worker: WorkerId::parse("worker-1").unwrap(),
        incarnation: Incarnation(1_795_296_268_507),
        url: "http://127.0.0.1:32927".to_owned(),
        state: WorkerState::Serving,
        capacity: 1000,
        environments: 1,
        running: 0,
        list_digest: 0x16fd_d6f5_8b9e_ade5_4438_a7e4_222b_1381_u128.to_be_bytes(),
    };
    assert_eq!(fleet.len(), 1);
    assert_eq!(fleet[0].report, report);
    // It knew the list and left no word that it counts.
    assert_eq!(directory.beat(&report).await.unwrap(), Beat::ListWanted);
    let zombie = WorkerReport { incarnation: Incarnation(1), ..report };
    assert_eq!(directory.beat(&zombie).await.unwrap(), Beat::Fenced);

    let tenant = TenantDigest::from_hex("5e0017fc891cf04dca1aa9d2fd7632c1").unwrap();
    let id = |text| EnvironmentId::from_hex(text).unwrap();
    let known = id("ca9bd532c36c24fb4bcc3d7aee020e8d");
    let placement = directory.locate(tenant, known).await.unwrap().unwrap();
    assert_eq!((placement.worker, placement.epoch), (zombie.worker, Epoch::FIRST));
    let released = id("77a4a3c994cbe0096d96cc45681aef30");
    assert_eq!(directory.locate(tenant, released).await.unwrap(), None);
    // It left no word of its own that all workers' lists were taken.
    directory.complete(&[]).await.unwrap();
    let full = directory.reserve(tenant, released, 1).await.unwrap();
    assert_eq!(full, Reservation::Full, "the quota counts the one that lives");
}

/// Reads a message, and reads it again with a field in each object that only a later release knows.
fn check<T: DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, message: &Value) {
    let read: T = serde_json::from_value(message.clone())
        .unwrap_or_else(|error| panic!("{name}: {error} in {message}"));
    let mut later = message.clone();
    add_fields(&mut later);
    let later = serde_json::from_value::<T>(later)
        .unwrap_or_else(|error| panic!("{name}: {error} with a field of a later release"));
    assert_eq!(later, read, "{name}");
}

fn add_fields(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(add_fields);
            members.insert("ofALaterRelease".to_owned(), json!({"a": [1]}));
        }
        Value::Array(values) => values.iter_mut().for_each(add_fields),
        _ => {}
    }
}

#[test]
fn messages_of_the_first_release_are_read_and_fields_of_a_later_one_passed_over() {
    type Check = fn(&str, &Value);
    let checks: BTreeMap<&str, Check> = [
        ("CancelRequest", check::<CancelRequest> as Check),
        ("CancelTaskRequest", check::<CancelTaskRequest>),
        ("CloseRequest", check::<CloseRequest>),
        ("CreateReply", check::<CreateReply>),
        ("CreateRequest", check::<CreateRequest>),
        ("DetachRequest", check::<DetachRequest>),
        ("Done", check::<Done>),
        ("ExecuteRequest", check::<ExecuteRequest>),
        ("FindReply", check::<FindReply>),
        ("FindRequest", check::<FindRequest>),
        ("Heartbeat", check::<Heartbeat>),
        ("HeartbeatReply", check::<HeartbeatReply>),
        ("ListReply", check::<ListReply>),
        ("ListRequest", check::<ListRequest>),
        ("Refusal", check::<Refusal>),
        ("TaskReply", check::<TaskReply>),
        ("TaskRequest", check::<TaskRequest>),
    ]
    .into();
    let messages: BTreeMap<String, Vec<Value>> =
        serde_json::from_str(&fixture("rpc.json")).unwrap();
    let named: Vec<&str> = messages.keys().map(String::as_str).collect();
    assert_eq!(named, checks.keys().copied().collect::<Vec<_>>());
    for (name, messages) in &messages {
        assert!(!messages.is_empty(), "{name}");
        for message in messages {
            checks[name.as_str()](name, message);
        }
    }
}
