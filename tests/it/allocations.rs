//! How often the gateway allocates for a request, and what a connection at rest holds. Nothing else of its cost can be
//! counted to the unit.

#![expect(clippy::unwrap_used, reason = "a test whose gateway does not start has failed")]

use std::time::Duration;

use baton::gateway::{Config, Rate, RateLimit, Rates, Upstream};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::cluster::{
    ALICE, RunningGateway, RunningWorker, Scratch, config, embedded, eventually, keys, number,
    worker_config,
};
use crate::counting::Counter;
use crate::mcp_client::McpClient;
use crate::upstream_server::{UpstreamServer, tool};
use crate::upstreams::{set, upstream};

/// How often each request may allocate: two times more than was seen. Lower it with what is seen.
const BOUNDS: [(Asked, u64); 5] = [
    (Asked::Whoami, 63),
    (Asked::Discover, 29),
    (Asked::List, 38),
    (Asked::Forwarded, 84),
    (Asked::Environment, 99),
];

#[derive(Clone, Copy, Debug)]
enum Asked {
    Whoami,
    Discover,
    List,
    Forwarded,
    Environment,
}

/// Until connections, lists and placements are known.
const WARM_UP: usize = 20;
/// What is done now and then for no request falls into few of these.
const BATCHES: usize = 8;
const BATCH: u64 = 20;

static OF_REQUESTS: Counter = Counter::new();
static OF_CONNECTIONS: Counter = Counter::new();

/// Bytes that a connection may hold while nobody calls by it.
const AT_REST: i64 = 3 << 10;
const RESTING: i64 = 100;
/// Long enough for a connection to rest.
const REST: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_request_allocates_seldom() {
    let (server, scratch) = (UpstreamServer::modern().await, Scratch::new("allocations"));
    server.offer(&[tool("echo")]);
    let counted = counted_runtime(&OF_REQUESTS);
    let gateway = {
        let _entered = counted.enter();
        RunningGateway::start(served(&server))
    };
    let worker = worker_config("w1", scratch.path(), vec![gateway.internal_url.clone()]);
    let worker = RunningWorker::start(worker).await;
    eventually(async || gateway.workers().await == 1).await;
    let client = McpClient::unjudging(&gateway.url).with_key(ALICE);
    let environment = client.launch().await;
    let mut wrong = Vec::new();
    for (asked, most) in BOUNDS {
        let seen = seen(&client, asked, &environment).await;
        eprintln!("{asked:?}: {seen} allocations, at most {most}"); // shown by --nocapture
        assert!(seen > 10, "the wrong thread was counted");
        if seen > most {
            wrong.push(format!("{asked:?} allocates {seen} times, at most {most} are allowed"));
        }
    }
    worker.stop().await;
    counted.shutdown_background();
    assert!(
        wrong.is_empty(),
        "{wrong:#?}\nSee who allocates anew: callers of malloc, in a release build with line tables, under \
         `valgrind --tool=callgrind`. Where that is worth it, raise the bound, and say in the commit what it buys."
    );
}

#[tokio::test]
async fn a_connection_at_rest_holds_little() {
    let (server, counted) = (UpstreamServer::modern().await, counted_runtime(&OF_CONNECTIONS));
    let gateway = {
        let _entered = counted.enter();
        RunningGateway::start(served(&server))
    };
    // Each client is a connection of its own.
    let called = async || {
        let client = McpClient::unjudging(&gateway.url).with_key(ALICE);
        ask(&client, Asked::Whoami, "").await;
        client
    };
    let _known = called().await;
    let each = |before: i64| (OF_CONNECTIONS.bytes() - before) / RESTING;
    sleep(REST).await;
    let before = OF_CONNECTIONS.bytes();
    let mut clients = Vec::new();
    for _ in 0..RESTING {
        clients.push(called().await);
    }
    let awake = each(before);
    eventually(async || each(before) <= AT_REST).await;
    eprintln!("{awake} bytes before it rests, {} then", each(before)); // shown by --nocapture
    assert!(each(before) > 500, "the wrong thread was counted");
    ask(&clients[0], Asked::Whoami, "").await;
    counted.shutdown_background();
}

/// The gateway's own thread.
fn counted_runtime(counter: &'static Counter) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || counter.count_this_thread())
        .enable_all()
        .build()
        .unwrap()
}

/// A gateway as one is set up: keys, a rate, tools of its own and of an upstream.
fn served(server: &UpstreamServer) -> Config {
    let often = Rate::new(Duration::from_millis(1), number(1_000_000));
    let forwarded = Upstream { prefix: "up_".to_owned(), ..upstream("u", server) };
    Config {
        credentials: keys(&[(ALICE, "t", "alice")]),
        rates: Rates { tenant: Some(RateLimit::shared(often)), ..Rates::default() },
        upstreams: set([forwarded]).subscribe(),
        // Its connections live on the thread that is counted.
        connection_threads: 0,
        ..config(embedded())
    }
}

/// The fewest allocations of one request, on the average of a batch.
async fn seen(client: &McpClient, asked: Asked, environment: &str) -> u64 {
    for _ in 0..WARM_UP {
        ask(client, asked, environment).await;
    }
    let mut fewest = u64::MAX;
    for _ in 0..BATCHES {
        let before = OF_REQUESTS.allocations();
        for _ in 0..BATCH {
            ask(client, asked, environment).await;
        }
        fewest = fewest.min((OF_REQUESTS.allocations() - before) / BATCH);
    }
    fewest
}

async fn ask(client: &McpClient, asked: Asked, environment: &str) {
    let call = |name: &str, arguments: Value| {
        ("tools/call", json!({"name": name, "arguments": arguments}))
    };
    let (method, params) = match asked {
        Asked::Whoami => call("whoami", json!({})),
        Asked::Discover => ("server/discover", json!({})),
        Asked::List => ("tools/list", json!({})),
        Asked::Forwarded => call("up_echo", json!({"text": "hello"})),
        Asked::Environment => call(
            "runPythonCodeInRemoteEnvironment",
            json!({"environmentId": environment, "pythonCode": "1"}),
        ),
    };
    let result = client.modern(method, params).await.result();
    assert_ne!(result["isError"], true, "{asked:?}: {result}");
}
