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
    orders: Arc<Mutex<Orders>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone, Copy, Debug)]
struct Orders {
    named: SocketAddr,
    /// Without it nothing is said.
    password: Option<&'static str>,
}

impl Obedient {
    pub(crate) async fn naming(master: &RedisServer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let orders = Orders { named: master.address(), password: None };
        let orders = Arc::new(Mutex::new(orders));
        let mut tasks = JoinSet::new();
        tasks.spawn(answer_all(listener, Arc::clone(&orders)));
        Self { address, orders, _tasks: tasks }
    }

    pub(crate) fn name(&self, master: &RedisServer) {
        self.orders.lock().unwrap().named = master.address();
    }

    pub(crate) fn demand(&self, password: &'static str) {
        self.orders.lock().unwrap().password = Some(password);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn answer_all(listener: TcpListener, orders: Arc<Mutex<Orders>>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        while connections.try_join_next().is_some() {}
        let orders = Arc::clone(&orders);
        connections.spawn(async move { drop(answer(client, &orders).await) });
    }
}

/// Names the master to who asks for it, and says OK to what else a client sends.
async fn answer(client: TcpStream, orders: &Mutex<Orders>) -> std::io::Result<()> {
    let (reader, mut writer) = client.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut shown = None;
    while let Some(count) = lines.next_line().await? {
        let count: usize = count.trim_start_matches('*').parse().unwrap();
        let mut words = Vec::new();
        for _ in 0..count {
            let _length = lines.next_line().await?;
            words.extend(lines.next_line().await?);
        }
        let Orders { named, password } = *orders.lock().unwrap();
        if words[0] == "AUTH" {
            shown = words.pop();
        }
        let reply = if password.is_some_and(|it| shown.as_deref() != Some(it)) {
            "-NOAUTH Authentication required.\r\n".to_owned()
        } else if words[0] == "SENTINEL" {
            let (host, port) = (named.ip().to_string(), named.port().to_string());
            format!("*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n", host.len(), port.len())
        } else {
            "+OK\r\n".to_owned()
        };
        writer.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}
