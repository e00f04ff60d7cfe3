//! A retry reaches the replica on which its call waits, whichever replica its client sends it to.

#![expect(clippy::unwrap_used, reason = "a test whose gateway does not start has failed")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use baton::clock::Clock;
use baton::directory::Replica;
use baton::domain::ids::{Name, Principal};
use baton::domain::keyring::Purpose;
use baton::gateway::Config;
use http::StatusCode;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::cluster::{
    RunningGateway, SIGNING, config, embedded, eventually, free_address, keyring, keys,
};
use crate::mcp_client::{McpClient, Modern};
use crate::upstream_questions::{KEYS, asked, asking, call, question, retry, send};
use crate::upstream_server::{Answer, Gate, UpstreamServer};
use crate::upstreams::{set, upstream};

const PATH: &str = "/v1/handover";
const PROOF: &str = "baton-handover";

/// Two replicas with this upstream, and a client of each.
pub async fn two(server: &UpstreamServer) -> ([RunningGateway; 2], [McpClient; 2]) {
    two_with(server, |_| {}).await
}

/// The same; `bend` may change the first one's configuration.
async fn two_with(
    server: &UpstreamServer,
    bend: impl Fn(&mut Config),
) -> ([RunningGateway; 2], [McpClient; 2]) {
    let (set, directory) = (set([upstream("u", server)]), embedded());
    let gateways = [true, false].map(|is_first| {
        let mut config = config(directory.clone());
        config.upstreams = set.subscribe();
        config.tools.environments = false;
        config.credentials = keys(&KEYS);
        if is_first {
            bend(&mut config);
        }
        RunningGateway::start(config)
    });
    let test = Replica { id: "test".to_owned(), url: String::new() };
    eventually(async || directory.announce(&test).await.unwrap().len() == 3).await;
    directory.withdraw(&test).await.unwrap();
    let clients = gateways.each_ref().map(|it| it.client().with_key(KEYS[0].0));
    (gateways, clients)
}

#[tokio::test]
async fn a_retry_at_another_replica_goes_on_with_the_call() {
    let server = asking().await;
    let (_gateways, [here, there]) = two(&server).await;
    let (key, _, state) = asked(&send(&here, &call(&json!({}))).await.result());
    let answer = json!({"action": "accept", "content": {"name": "Ada"}});
    let answered = send(&there, &retry(&key, &answer, &state)).await;
    let result = answered.result();
    assert_eq!(result["heard"][0]["result"], answer);
    assert_eq!(server.received_of("tools/call").len(), 1);
    let again = send(&there, &retry(&key, &answer, &state)).await;
    assert_eq!((again.status, &again.error()["code"]), (StatusCode::BAD_REQUEST, &json!(-32602)));
}

#[tokio::test]
async fn progress_streams_through_and_the_next_question_comes_back_the_same_way() {
    let server = UpstreamServer::legacy().await;
    let gate = Gate::new();
    let held = gate.clone();
    server.on("tools/call", move |_| {
        let first = Answer::stream().ask("elicitation/create", question("One?")).progress(1, 3);
        let second = first.gate(&held).ask("elicitation/create", question("Two?"));
        second.answered(|replies| json!({"content": [], "heard": replies}))
    });
    let (_gateways, [here, there]) = two(&server).await;
    let told = json!({"_meta": {
        "progressToken": "p",
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "it", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }});
    let with_progress = |mut request: Modern| {
        request.message["params"]["_meta"] = told["_meta"].clone();
        request
    };
    let mut first = here.open(&with_progress(call(&json!({})))).await;
    let (key, _, state) = asked(&first.next().await.unwrap()["result"]);
    let mut stream =
        there.open(&with_progress(retry(&key, &json!({"action": "accept"}), &state))).await;
    // It is there before the call goes on.
    let progress = stream.next().await.unwrap();
    assert_eq!(progress["params"]["progressToken"], "p", "{progress}");
    gate.open();
    let (key, request, state) = asked(&stream.next().await.unwrap()["result"]);
    assert_eq!(request["params"]["message"], "Two?");
    let result = send(&there, &retry(&key, &json!({"action": "decline"}), &state)).await.result();
    assert_eq!(result["heard"][1]["result"]["action"], "decline");
}

#[tokio::test]
async fn a_client_that_leaves_there_cancels_the_call_here() {
    let server = UpstreamServer::legacy().await;
    server.on("tools/call", |_| {
        let asked = Answer::stream().ask("elicitation/create", question("One?"));
        asked.gate(&Gate::new()).finish(json!({"content": []}))
    });
    let (_gateways, [here, there]) = two(&server).await;
    let (key, _, state) = asked(&send(&here, &call(&json!({}))).await.result());
    let left = retry(&key, &json!({"action": "accept"}), &state);
    let replied = || server.received().iter().any(|it| it.message["result"]["action"] == "accept");
    tokio::select! {
        answer = send(&there, &left) => panic!("{answer:?}"),
        () = eventually(async || replied()) => {}
    }
    server.wait_for("notifications/cancelled", 1).await;
}

#[tokio::test]
async fn a_replica_that_is_gone_is_said_to_be_gone_at_once() {
    let server = asking().await;
    let ([first, _second], [here, there]) = two(&server).await;
    let (key, _, state) = asked(&send(&here, &call(&json!({}))).await.result());
    first.kill();
    let refused = send(&there, &retry(&key, &json!({"action": "accept"}), &state)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let error = refused.error();
    assert_eq!(error["code"], -32602);
    assert!(error["message"].as_str().unwrap().contains("make the call anew"), "{error}");
}

#[tokio::test]
async fn what_is_handed_over_holds_no_credential_and_opens_once_at_its_replica_alone() {
    let (server, thief) = (asking().await, UpstreamServer::modern().await);
    let address = free_address();
    // What is meant for the first replica goes to somebody who keeps it and does not take it.
    let ([_first, second], [here, there]) = two_with(&server, |config| {
        config.internal_listen = address;
        config.advertise = Some(format!("http://{}", thief.address()));
    })
    .await;
    let (key, _, state) = asked(&send(&here, &call(&json!({}))).await.result());
    let answer = json!({"action": "accept"});
    // Whoever is no replica of ours may have done anything with it.
    let lost = send(&there, &retry(&key, &answer, &state)).await;
    assert_eq!(lost.error()["code"], 50201, "{lost:?}");

    let stolen = thief.received();
    let [letter] = &stolen[..] else { panic!("it was sent {} times", stolen.len()) };
    let proof = [(PROOF, letter.header(PROOF).unwrap())];
    let known = ["host", "content-length", PROOF];
    assert!(letter.headers.keys().all(|it| known.contains(&it.as_str())), "{:?}", letter.headers);
    let text = String::from_utf8_lossy(&letter.bytes);
    assert!(!text.contains(KEYS[0].0) && !text.contains("x-ms-apikey"), "{text}");

    let first = McpClient::new(&format!("http://{address}{PATH}"));
    let mut altered = letter.bytes.to_vec();
    *altered.last_mut().unwrap() = b' ';
    for (replica, bytes) in [(&first, altered), (&second.internal(PATH), letter.bytes.to_vec())] {
        assert_eq!(replica.send("POST", &proof, bytes).await.status, StatusCode::FORBIDDEN);
    }
    let taken = first.send("POST", &proof, letter.bytes.clone()).await;
    assert_eq!(taken.result()["heard"][0]["result"], answer);
    let again = first.send("POST", &proof, letter.bytes.clone()).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_was_handed_over_is_not_handed_over_again() {
    let server = asking().await;
    let ([_first, second], [here, there]) = two(&server).await;
    let (key, _, state) = asked(&send(&here, &call(&json!({}))).await.result());
    let answer = json!({"action": "accept"});
    let request = retry(&key, &answer, &state);
    // The second one would hand this over; but it comes from a replica.
    let to = there.tool("whoami", json!({})).await["_meta"]["dev.baton/servedBy"].clone();
    let (proof, letter) = letter(to.as_str().unwrap(), &request, SIGNING);
    let refused = second.internal(PATH).send("POST", &[(PROOF, &proof)], letter).await;
    assert_eq!(refused.json()["error"]["code"], -32602, "{refused:?}");
    assert_eq!(refused.header(PROOF), Some("taken"));
    // It waits still, for whoever holds a signing key of ours.
    let (proof, letter) = self::letter(to.as_str().unwrap(), &request, SIGNING + 1);
    let refused = second.internal(PATH).send("POST", &[(PROOF, &proof)], letter).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(send(&there, &request).await.result()["heard"][0]["result"], answer);
}

/// A request of the first key's owner as a replica with this signing key hands it over, and its proof.
fn letter(to: &str, request: &Modern, signing: u8) -> (String, Vec<u8>) {
    let (_, tenant, subject) = KEYS[0];
    let head = json!({"principal": [tenant, subject], "headers": request.headers()}).to_string();
    let length = u32::try_from(head.len()).unwrap().to_be_bytes();
    let letter = [&length[..], head.as_bytes(), request.body().as_bytes()].concat();
    let (time, nonce) = (Clock::system().now().as_millis().to_be_bytes(), [7; 16]);
    let mut statement = Vec::new();
    for part in ["POST", PATH, to] {
        statement.extend((part.len() as u64).to_be_bytes());
        statement.extend(part.as_bytes());
    }
    statement.extend([&time[..], &nonce, &Sha256::digest(&letter)].concat());
    let name = |text| Name::parse(text).unwrap();
    let principal = Principal::verified(name(tenant), name(subject));
    let seal = keyring(&[signing]).seal(Purpose::Relay, &principal, &[&statement]);
    let proof = [&time[..], &nonce, &[seal.key_id], &seal.mac].concat();
    (URL_SAFE_NO_PAD.encode(proof), letter)
}

#[tokio::test]
async fn nobody_without_a_signing_key_can_hand_anything_over() {
    let server = asking().await;
    let ([first, _second], _) = two(&server).await;
    let path = first.internal(PATH);
    for headers in [&[][..], &[(PROOF, "AAAA")]] {
        let refused = path.send("POST", headers, "{}").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
    let too_large = vec![b' '; (4 << 20) + (256 << 10)];
    assert_eq!(path.send("POST", &[], too_large).await.status, StatusCode::BAD_REQUEST);
    let outside = first.client().at(&first.url.replace("/mcp", PATH));
    assert_eq!(outside.send("POST", &[], "{}").await.status, StatusCode::NOT_FOUND);
}
