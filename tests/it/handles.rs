//! Which handles are good, and that everything else is refused before anybody is asked.

use std::collections::BTreeSet;
use std::time::Duration;

use baton::clock::Clock;
use baton::domain::handle::Handle;
use baton::domain::ids::{EnvironmentId, Principal, TallyId};
use baton::domain::keyring::{Keyring, SecretKey};
use serde_json::{Value, json};

use crate::cluster::{
    ALICE, BOB, Cluster, RunningGateway, SIGNING, alice, config, embedded, eventually, keyring,
    keys,
};
use crate::mcp_client::McpClient;

const SHELL: &str = "runShellCommandInRemoteEnvironment";
/// The byte of another key.
const NEW: u8 = 2;

/// A replica without workers: a good handle gets as far as to find that out, a bad one does not.
fn replica(keyring: Keyring) -> RunningGateway {
    let mut config = config(embedded());
    config.keys = keyring;
    config.credentials = keys(&[(ALICE, "t", "alice"), (BOB, "t", "bob")]);
    RunningGateway::start(config)
}

/// A handle of an environment that may be anywhere.
fn sealed(keys: &Keyring, owner: &Principal) -> String {
    let not_after = Clock::system().now().after(Duration::from_hours(1));
    Handle::issue(EnvironmentId::from_bytes([7; 16]), 0, not_after).seal(owner, keys)
}

fn use_of(handle: &str) -> Value {
    json!({"environmentId": handle, "shellCommand": "true"})
}

async fn is_good(client: &McpClient, handle: &str) {
    let call = json!({"name": SHELL, "arguments": use_of(handle)});
    let answer = client.modern("tools/call", call).await;
    assert_eq!(answer.error()["code"], 50302, "it would be asked for, if there were a worker");
}

/// Refused by every tool that takes one, with these words; returns what one of them says.
async fn is_refused(client: &McpClient, handle: &str, words: &str) -> String {
    let python = json!({"environmentId": handle, "pythonCode": "1"});
    client.fail("runPythonCodeInRemoteEnvironment", python).await;
    client.fail("closeEnvironment", json!({"environmentId": handle})).await;
    let (text, data) = client.fail(SHELL, use_of(handle)).await;
    assert!(text.contains(words) && text.contains("launchShell"), "{handle}: {text}");
    assert_eq!((&data["executed"], &data["retryable"]), (&json!("no"), &json!(false)));
    text
}

const MALFORMED: &str = "is not an environmentId";
const NOT_YOURS: &str = "You have no such environment";

#[tokio::test]
async fn a_handle_that_was_altered_anywhere_is_unknown_or_no_handle() {
    let keys = keyring(&[SIGNING]);
    let gateway = replica(keys.clone());
    let client = gateway.client().with_key(ALICE);
    let good = sealed(&keys, &alice());
    is_good(&client, &good).await;
    let mut said = BTreeSet::new();
    for place in 6..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(bytes).unwrap();
        said.insert(client.fail(SHELL, use_of(&forged)).await.0);
    }
    assert_eq!(said.len(), 1, "every forgery gets the same words: {said:?}");
    assert!(said.pop_first().unwrap().contains(NOT_YOURS));
    for mangled in [
        String::new(),
        "1".to_owned(),
        good[..63].to_owned(),
        good[4..].to_owned(),
        format!("{good}A"),
        format!(" {good}"),
        format!("bte_{}", "A".repeat(60)),
        format!("{}=", &good[..63]),
        good.to_uppercase(),
    ] {
        is_refused(&client, &mangled, MALFORMED).await;
    }
}

#[tokio::test]
async fn a_handle_of_another_kind_owner_or_audience_is_refused() {
    let keys = keyring(&[SIGNING]);
    let gateway = replica(keys.clone());
    let client = gateway.client().with_key(ALICE);
    let not_after = Clock::system().now().after(Duration::from_hours(1));
    let tally = Handle::issue(TallyId::from_bytes([7; 16]), 0, not_after).seal(&alice(), &keys);
    assert!(tally.starts_with("btn_"));
    is_refused(&client, &tally, MALFORMED).await;
    is_refused(&client, &tally.replacen("btn_", "bte_", 1), NOT_YOURS).await;
    let (text, _) =
        client.fail("tally", json!({"amount": 1, "tally": sealed(&keys, &alice())})).await;
    assert!(text.contains("no such tally"), "{text}");

    let foreign =
        is_refused(&gateway.client().with_key(BOB), &sealed(&keys, &alice()), NOT_YOURS).await;
    let nobodys = is_refused(&client, &sealed(&keys, &Principal::Anonymous), NOT_YOURS).await;
    assert_eq!(foreign, nobodys);
    let elsewhere = Keyring::new("elsewhere", &[SecretKey::from_bytes([SIGNING; 32])]).unwrap();
    is_refused(&client, &sealed(&elsewhere, &alice()), NOT_YOURS).await;
}

#[tokio::test]
async fn a_handle_is_good_while_its_key_is_there() {
    let (old, new) = (keyring(&[SIGNING]), keyring(&[NEW]));
    let (by_old, by_new) = (sealed(&old, &alice()), sealed(&new, &alice()));
    for rotating in [keyring(&[SIGNING, NEW]), keyring(&[NEW, SIGNING])] {
        let gateway = replica(rotating);
        let client = gateway.client().with_key(ALICE);
        is_good(&client, &by_old).await;
        is_good(&client, &by_new).await;
    }
    let gateway = replica(new);
    let client = gateway.client().with_key(ALICE);
    is_good(&client, &by_new).await;
    is_refused(&client, &by_old, NOT_YOURS).await;
}

#[tokio::test]
async fn a_handle_ends_with_its_environments_life() {
    let brief = |it: &mut baton::gateway::Config| it.environments.max_life = Duration::from_secs(2);
    let cluster = Cluster::start(2, 1, brief).await;
    let (here, there) = (cluster.client(0, ALICE), cluster.client(1, ALICE));
    let id = here.launch().await;
    there.shell(&id, "true").await;
    let ended = async || there.tool(SHELL, use_of(&id)).await["isError"] == true;
    eventually(ended).await;
    for client in [&here, &there] {
        let (text, data) = client.fail(SHELL, use_of(&id)).await;
        assert!(text.contains("the end of its life"), "{text}");
        assert_eq!(data["environment"], json!({"state": "gone", "reason": "expired"}));
    }
    // Its place is free again.
    eventually(async || {
        here.succeed("listEnvironments", json!({})).await["environments"] == json!([])
    })
    .await;
}

#[tokio::test]
async fn keys_rotate_over_replicas_that_are_restarted_one_after_another() {
    let mut cluster = Cluster::start(2, 1, |_| {}).await;
    let first = cluster.client(0, ALICE).launch().await;
    cluster.client(0, ALICE).python(&first, "x = 1").await;
    let mut all = vec![first.clone()];
    // The new key is known everywhere before any replica signs with it.
    for ring in [[SIGNING, NEW], [NEW, SIGNING]] {
        for place in 0..2 {
            let mut config = cluster.gateway_config().await;
            config.keys = keyring(&ring);
            let fresh = RunningGateway::start(config);
            eventually(async || fresh.workers().await == 1).await;
            std::mem::replace(&mut cluster.gateways[place], fresh).stop().await;
            for replica in 0..2 {
                all.push(cluster.client(replica, ALICE).launch().await);
            }
            for (replica, id) in (0..2).flat_map(|it| all.iter().map(move |id| (it, id))) {
                cluster.client(replica, ALICE).shell(id, "true").await;
            }
        }
    }
    let newest = cluster.client(0, ALICE).launch().await;
    let by_key = |id: &str| {
        Handle::<EnvironmentId>::open(id, &alice(), &keyring(&[NEW]), Clock::system().now())
    };
    assert!(by_key(&newest).is_ok() && by_key(&first).is_err(), "the new key signs now");
    // What is listed is signed by the key that signs now.
    let list = cluster.client(1, ALICE).succeed("listEnvironments", json!({})).await;
    let again = list["environments"][0]["environmentId"].as_str().unwrap();
    assert!(by_key(again).is_ok());
    assert_eq!(cluster.client(0, ALICE).python(again, "x").await["executionResult"], "1");
}
