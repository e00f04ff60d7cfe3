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

#[tokio::test]
async fn a_list_of_large_items_comes_in_small_pages_and_ends_where_it_is_too_large() {
    let server = UpstreamServer::modern().await;
    // Each has a megabyte and its name: four are more than a page holds, and sixteen more than is kept.
    server.on("tools/list", |request| {
        let page: usize = request.params()["cursor"].as_str().map_or(0, |it| it.parse().unwrap());
        let mut large = tool(&format!("t{page}"));
        large["description"] = "x".repeat(1 << 20).into();
        let next = (page < 23).then(|| (page + 1).to_string());
        let mut list = json!({"tools": [large]});
        if let Some(next) = next {
            list["nextCursor"] = next.into();
        }
        Answer::result(list)
    });
    let gateway = gateway(&set([upstream("u", &server)]), |_| {});
    let client = gateway.client();
    let (mut pages, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let params = cursor.as_ref().map_or(json!({}), |it| json!({"cursor": it}));
        let list = client.modern("tools/list", params).await.result();
        pages.push(names(&list, "tools").len());
        match list["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(pages, [3, 3, 3, 3, 3]);
    assert_eq!(server.received_of("tools/list").len(), 16);
}
