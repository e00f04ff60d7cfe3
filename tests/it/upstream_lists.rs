//! What upstreams list: whose it is, how long it is good, and who hears that it is another.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::json;

use crate::cluster::keys;
use crate::upstream_server::{Answer, Gate, UpstreamServer, tool};
use crate::upstreams::{KEYS, gateway, names, set, tools, upstream};

#[tokio::test]
async fn callers_who_wait_for_the_first_list_each_get_their_own() {
    let server = UpstreamServer::modern().await;
    let (gate, counter) = (Gate::new(), AtomicUsize::new(0));
    let held = gate.clone();
    server.on("tools/list", move |_| {
        let tools = json!([tool(&format!("t{}", counter.fetch_add(1, Ordering::Relaxed)))]);
        let list = json!({"tools": tools, "ttlMs": 600_000, "cacheScope": "private"});
        Answer::result(list).after(&held)
    });
    let gateway =
        gateway(&set([upstream("u", &server)]), |config| config.credentials = keys(&KEYS));
    let [one, two] = KEYS.map(|(key, _, _)| gateway.client().with_key(key));
    let lists = join_all([&one, &two].map(|it| it.modern("tools/list", json!({}))));
    let open = async {
        server.wait_for("tools/list", 1).await;
        // Time for the other to join; if it does not, nothing is shown, and nothing is wrong.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        gate.open();
    };
    let (lists, ()) = tokio::join!(lists, open);
    let [ones, twos] = lists.try_into().unwrap();
    let (ones, twos) = (names(&ones.result(), "tools"), names(&twos.result(), "tools"));
    assert_ne!(ones, twos);
    let again = join_all([&one, &two].map(tools)).await;
    assert_eq!(again, [ones, twos]);
    assert_eq!(server.received_of("tools/list").len(), 2);
}
