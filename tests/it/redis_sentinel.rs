//! A master with a replica and three Sentinels, and Sentinels that say what a test wants.
#![expect(clippy::unwrap_used, reason = "a test whose servers do not start has failed")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use baton::directory::redis::{RedisSettings, RedisUrl};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::redis_server::RedisServer;

/// What Sentinels call the master here.
pub(crate) const MASTER: &str = "baton-1";

/// Servers that fail over by themselves: a master that is silent for a second is replaced.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) master: RedisServer,
    pub(crate) replica: RedisServer,
    pub(crate) sentinels: [RedisServer; 3],
}

impl Watched {
    /// Returns when the Sentinels know the replica and one another.
    pub(crate) fn start() -> Self {
        let master = RedisServer::start();
        let port = master.address().port();
        let mut replica = RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {port}")]);
        assert!(replica.wait_until("INFO replication", "master_link_status:up"));
        let configuration = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds {MASTER} 1000\n\
             sentinel failover-timeout {MASTER} 5000\n"
        );
        let mut sentinels = [(); 3].map(|()| RedisServer::start_sentinel(&configuration));
        for sentinel in &mut sentinels {
            let others =
                format!("name={MASTER},status=ok,address=127.0.0.1:{port},slaves=1,sentinels=3");
            assert!(sentinel.wait_until("INFO sentinel", &others));
        }
        Self { master, replica, sentinels }
    }

    pub(crate) fn settings(&self) -> RedisSettings {
        settings(&self.sentinels.each_ref().map(RedisServer::address), MASTER)
    }
}

/// The address of a master by its Sentinels.
pub(crate) fn settings(sentinels: &[SocketAddr], master: &str) -> RedisSettings {
    RedisUrl::parse(&url(sentinels, master)).unwrap().into()
}

/// The same as text.
pub(crate) fn url(sentinels: &[SocketAddr], master: &str) -> String {
    let sentinels: Vec<_> = sentinels.iter().map(ToString::to_string).collect();
    format!("redis+sentinel://{}/{master}", sentinels.join(","))
}

/// A Sentinel that says whatever it is told to, until it is dropped.
#[derive(Debug)]
pub(crate) struct Obedient {
    address: SocketAddr,
    named: Arc<Mutex<SocketAddr>>,
    _tasks: JoinSet<()>,
}

impl Obedient {
    pub(crate) async fn naming(master: &RedisServer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let named = Arc::new(Mutex::new(master.address()));
        let mut tasks = JoinSet::new();
        tasks.spawn(answer_all(listener, Arc::clone(&named)));
        Self { address, named, _tasks: tasks }
    }

    pub(crate) fn name(&self, master: &RedisServer) {
        *self.named.lock().unwrap() = master.address();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn answer_all(listener: TcpListener, named: Arc<Mutex<SocketAddr>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        let named = Arc::clone(&named);
        connections.spawn(async move { drop(answer(client, &named).await) });
    }
}

/// Names the master to who asks for it, and says OK to what else a client sends.
async fn answer(client: TcpStream, named: &Mutex<SocketAddr>) -> std::io::Result<()> {
    let (reader, mut writer) = client.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(count) = lines.next_line().await? {
        let count: usize = count.trim_start_matches('*').parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            let _length = lines.next_line().await?;
            words.extend(lines.next_line().await?);
        }
        let reply = if words[0] == "SENTINEL" {
            let named = *named.lock().unwrap();
            let (host, port) = (named.ip().to_string(), named.port().to_string());
            format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len())
        } else {
            "+OK\r\n".to_owned()
        };
        writer.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}
