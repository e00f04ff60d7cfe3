//! Replicas that cannot be addressed one by one: all announce the address of a load balancer, and whoever connects
//! there meets any of them.

#![expect(clippy::unwrap_used, reason = "a test whose cluster does not start has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use baton::directory::Replica;
use baton::gateway::Config;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::cluster::{
    ALICE, Cluster, RunningGateway, RunningWorker, config, embedded, eventually, free_address, keys,
};
use crate::listen::{Stream, updated, uri_of};
use crate::upstream_questions::{KEYS, asked, asking, call, retry, send};
use crate::upstreams::{set, upstream};

/// Gives each connection to the next of these servers, until it is dropped.
struct RoundRobin {
    url: String,
    _tasks: JoinSet<()>,
}

impl RoundRobin {
    async fn over(servers: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for server in servers.iter().cycle() {
                let (mut client, _) = listener.accept().await.unwrap();
                let server = *server;
                while connections.try_join_next().is_some() {}
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
                    }
                });
            }
        });
        Self { url, _tasks: tasks }
    }
}

/// Three replicas behind one address, and a worker that knows no other.
async fn three_behind_one(bend: impl Fn(&mut Config)) -> (Cluster, RoundRobin) {
    let internals = [free_address(), free_address(), free_address()];
    let shared = RoundRobin::over(internals.to_vec()).await;
    let mut cluster = Cluster::start(0, 0, |_| {}).await;
    for internal_listen in internals {
        let mut config = cluster.gateway_config().await;
        config.internal_listen = internal_listen;
        config.advertise = Some(shared.url.clone());
        bend(&mut config);
        let mut gateway = RunningGateway::start(config);
        // Where the test reads its metrics.
        gateway.internal_url = format!("http://{internal_listen}");
        cluster.gateways.push(gateway);
    }
    let mut worker = cluster.worker_config("w1");
    worker.gateways = vec![shared.url.clone()];
    cluster.workers.push(RunningWorker::start(worker).await);
    cluster.ready(1).await;
    (cluster, shared)
}

#[tokio::test]
async fn each_replica_knows_the_worker_that_reports_to_another() {
    let (cluster, _shared) = three_behind_one(|_| {}).await;
    let handle = cluster.client(0, ALICE).launch().await;
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        for (replica, gateway) in cluster.gateways.iter().enumerate() {
            assert_eq!(gateway.workers().await, 1, "replica {replica} takes it for silent");
        }
        sleep(Duration::from_millis(100)).await;
    }
    for replica in 0..3 {
        let client = cluster.client(replica, ALICE);
        client.python(&handle, "6 * 7").await;
        client.launch().await;
    }
}

#[tokio::test]
async fn an_environment_that_expires_is_told_by_the_replica_that_hears_of_it() {
    let expiring = |config: &mut Config| config.environments.idle_timeout = Duration::from_secs(2);
    let (cluster, _shared) = three_behind_one(expiring).await;
    let handle = cluster.client(0, ALICE).launch().await;
    let mut watching = Vec::new();
    for replica in 0..3 {
        let asked = json!({"resourceSubscriptions": [uri_of(&handle)]});
        let stream = Stream::open(&cluster.client(replica, ALICE), json!(replica), &asked).await;
        watching.push(stream.0);
    }
    for stream in &mut watching {
        assert_eq!(stream.told().await, updated(&handle));
    }
}

#[tokio::test]
async fn a_retry_finds_the_replica_on_which_its_call_waits() {
    let server = asking().await;
    let (set, directory) = (set([upstream("u", &server)]), embedded());
    let internals = [free_address(), free_address(), free_address()];
    let shared = RoundRobin::over(internals.to_vec()).await;
    let gateways = internals.map(|internal_listen| {
        let mut config = config(directory.clone());
        config.internal_listen = internal_listen;
        config.advertise = Some(shared.url.clone());
        config.upstreams = set.subscribe();
        config.tools.environments = false;
        config.credentials = keys(&KEYS);
        RunningGateway::start(config)
    });
    let test = Replica { id: "test".to_owned(), url: String::new() };
    eventually(async || directory.announce(&test).await.unwrap().len() == 4).await;
    directory.withdraw(&test).await.unwrap();
    let clients = gateways.each_ref().map(|it| it.client().with_key(KEYS[0].0));
    for there in [1, 2, 1, 2] {
        let (key, _, state) = asked(&send(&clients[0], &call(&json!({}))).await.result());
        let answer = json!({"action": "accept", "content": {"name": "Ada"}});
        let answered = send(&clients[there], &retry(&key, &answer, &state)).await;
        assert_eq!(answered.result()["heard"][0]["result"], answer);
    }
    assert_eq!(server.received_of("tools/call").len(), 4);
}
