//! A Redis Cluster of real servers on this machine.
#![expect(clippy::unwrap_used, reason = "a test whose servers do not start has failed")]

use baton::directory::redis::{RedisSettings, RedisUrl};

use crate::redis_server::RedisServer;

/// How many masters share the slots.
const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// Servers that share slots; a master that is silent for a second is replaced by its replica, if it has one. Where none is
/// replaced a busy machine has longer.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    pub(crate) masters: Vec<RedisServer>,
    /// Of each master one, or none at all.
    pub(crate) replicas: Vec<RedisServer>,
}

impl RedisCluster {
    /// Three masters.
    pub(crate) fn start() -> Self {
        // What is on the others goes on when one is away.
        Self::form(&["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "5000"], 0)
    }

    /// Three masters with a replica each.
    pub(crate) fn start_with_replicas() -> Self {
        Self::form(&["--cluster-node-timeout", "1000"], MASTERS)
    }

    fn form(settings: &[&str], replicas: usize) -> Self {
        let node =
            || RedisServer::start_with(&[&["--cluster-enabled", "yes"][..], settings].concat());
        let mut masters: Vec<_> = (0..MASTERS).map(|_| node()).collect();
        let mut replicas: Vec<_> = (0..replicas).map(|_| node()).collect();
        for (number, master) in masters.iter().enumerate() {
            let (first, next) = (number * SLOTS / MASTERS, (number + 1) * SLOTS / MASTERS);
            master.say(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1));
            master.say(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
        }
        for other in masters[1..].iter().chain(&replicas) {
            masters[0].say(&format!("CLUSTER MEET 127.0.0.1 {}", other.address().port()));
        }
        let all = format!("cluster_known_nodes:{}", masters.len() + replicas.len());
        for node in masters.iter_mut().chain(&mut replicas) {
            assert!(node.wait_until("CLUSTER INFO", &all));
            assert!(node.wait_until("CLUSTER INFO", "cluster_slots_ok:16384"));
            assert!(node.wait_until("CLUSTER INFO", "cluster_state:ok"));
        }
        for (master, replica) in masters.iter_mut().zip(&mut replicas) {
            replica.say(&format!("CLUSTER REPLICATE {}", id(master)));
            assert!(replica.wait_until("INFO replication", "master_link_status:up"));
            assert!(master.wait_until("INFO replication", "state=online"));
        }
        for replica in &replicas {
            let line = format!("{} ", id(replica));
            for node in &mut masters {
                // Who does not know yet that it is a replica would not vote for it.
                let knows = |said: &str| {
                    said.lines().any(|it| it.starts_with(&line) && it.contains("slave"))
                };
                assert!(node.wait_for("CLUSTER NODES", knows));
            }
        }
        Self { masters, replicas }
    }

    /// Two of its nodes: the others are found.
    pub(crate) fn settings(&self) -> RedisSettings {
        RedisUrl::parse(&self.url("")).unwrap().into()
    }

    /// The same as text, with who we are.
    pub(crate) fn url(&self, user: &str) -> String {
        let [a, b] = [1, 2].map(|it: usize| self.masters[it].address());
        format!("redis-cluster://{user}{a},{b}")
    }

    /// All its nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &RedisServer> {
        self.masters.iter().chain(&self.replicas)
    }

    /// The slot of a key.
    pub(crate) fn slot(&self, key: &str) -> usize {
        let said = self.masters[1].say(&format!("CLUSTER KEYSLOT {key}"));
        said.trim().trim_start_matches(':').parse().unwrap()
    }

    /// Which master had a key's slot at first.
    pub(crate) fn owner(&self, key: &str) -> usize {
        (0..MASTERS).rfind(|it| it * SLOTS / MASTERS <= self.slot(key)).unwrap()
    }

    /// Takes a slot with its keys from one master to another, key by key. `halfway` runs when the keys are there and the
    /// slot is not.
    pub(crate) async fn migrate(&self, slot: usize, from: usize, to: usize, halfway: impl Future) {
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let (here, there) = (id(source), id(target));
        target.say(&format!("CLUSTER SETSLOT {slot} IMPORTING {here}"));
        source.say(&format!("CLUSTER SETSLOT {slot} MIGRATING {there}"));
        loop {
            let said = source.say(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            let keys: Vec<_> = said.lines().filter(|it| it.starts_with("baton:")).collect();
            if keys.is_empty() {
                break;
            }
            let (port, keys) = (target.address().port(), keys.join(" "));
            let moved = source.say(&format!("MIGRATE 127.0.0.1 {port} \"\" 0 5000 KEYS {keys}"));
            assert!(moved.starts_with("+OK") || moved.starts_with("+NOKEY"), "{moved}");
        }
        halfway.await;
        for node in [target, source] {
            assert!(node.say(&format!("CLUSTER SETSLOT {slot} NODE {there}")).starts_with("+OK"));
        }
    }
}

fn id(node: &RedisServer) -> String {
    node.say("CLUSTER MYID").lines().nth(1).unwrap().to_owned()
}
