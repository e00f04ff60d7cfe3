//! What Redis servers say of themselves, for the doctor.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::RedisResult;
use redis::aio::{MultiplexedConnection, PubSub};

use super::access::{self, Access};
use super::cluster::{ClusterMaster, ClusterState, Nodes};
use super::dial::{Dialer, RedisSettings};
use super::master::{Master, Said};
use super::trouble::in_time;
use super::url::{Address, Lead, Place};
use crate::directory::DirectoryError;

/// What matters of a server's settings. Absent is what the server does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Its version, such as `7.2.4`.
    pub version: Option<String>,
    /// What it does when memory runs out: must be `noeviction`.
    pub maxmemory_policy: Option<String>,
    /// `master`, or a replica that takes no writes.
    pub role: Option<String>,
    /// How many replicas follow it.
    pub replicas: Option<u32>,
    /// How many replicas must follow before it takes writes; at least 1 where there are any.
    pub min_replicas_to_write: Option<u32>,
    /// How many seconds a replica may be behind that counts there.
    pub min_replicas_max_lag: Option<u32>,
    /// Its clock, in milliseconds since 1970.
    pub time_ms: Option<u64>,
    /// What our user may do there.
    pub access: Access,
}

/// What was found where Redis was said to be.
#[derive(Debug)]
pub struct Inspected {
    /// How a cluster is; `None` where one server is named, or Sentinels.
    pub cluster: Option<ClusterState>,
    /// Each server that takes writes, by host and port.
    pub servers: Vec<(String, Result<Inspection, DirectoryError>)>,
}

/// What one Sentinel says.
#[derive(Debug)]
pub struct SentinelReport {
    /// Its own host and port.
    pub sentinel: String,
    /// Those of the master; `None` if it knows none of that name.
    pub master: Result<Option<String>, DirectoryError>,
}

impl Inspection {
    /// Whether it takes no writes.
    pub fn is_replica(&self) -> bool {
        self.role.as_deref().is_some_and(|role| role != "master")
    }
}

impl Inspected {
    /// Whether what was named is a replica: a gateway would not use it.
    pub fn is_replica(&self) -> bool {
        self.servers.iter().any(|(_, said)| said.as_ref().is_ok_and(Inspection::is_replica))
    }

    /// The one server that was found, where there are not more.
    pub fn only(&self) -> Option<&Inspection> {
        match &self.servers[..] {
            [(_, Ok(inspection))] => Some(inspection),
            _ => None,
        }
    }
}

/// How long a server may take to tell.
const INSPECTION_DEADLINE: Duration = Duration::from_secs(2);

/// Asks the server that takes writes for its settings, on a connection of its own; of a cluster, each master. A named
/// server may be a replica.
pub async fn inspect(settings: &RedisSettings) -> Result<Inspected, DirectoryError> {
    match &settings.url.place {
        Place::Master(lead) => {
            let (address, inspection) = ask(settings, lead, false).await?;
            Ok(Inspected { cluster: None, servers: vec![(address, Ok(inspection))] })
        }
        Place::Cluster(seeds) => {
            let state = Nodes::new(settings, seeds).state().await?;
            let nodes: Vec<Lead> = state.nodes().map(Lead::Server).collect();
            let asking = nodes.iter().map(|node| ask(settings, node, true));
            let said = join_all(asking).await.into_iter().zip(&state.masters);
            let report = |(said, master): (Result<(_, _), _>, &ClusterMaster)| {
                (master.address.clone(), said.map(|(_, inspection)| inspection))
            };
            let servers = said.map(report).collect();
            Ok(Inspected { cluster: Some(state), servers })
        }
    }
}

/// Asks each Sentinel for the master; there are none where servers are named.
pub async fn ask_sentinels(settings: &RedisSettings) -> Vec<SentinelReport> {
    let Place::Master(lead) = &settings.url.place else { return Vec::new() };
    let said = master(settings, lead).ask_all().await.into_iter();
    let report = |(sentinel, said): (Address, Said)| SentinelReport {
        sentinel: sentinel.to_string(),
        master: said.map(|it| it.map(|it| it.to_string())).map_err(DirectoryError::from),
    };
    said.map(report).collect()
}

fn master(settings: &RedisSettings, lead: &Lead) -> Master {
    Master::new(lead.clone(), settings.url.clone(), Arc::new(Dialer::new(settings)))
}

async fn ask(
    settings: &RedisSettings,
    lead: &Lead,
    is_cluster: bool,
) -> Result<(String, Inspection), DirectoryError> {
    let master = master(settings, lead);
    let mut server = master.reach().await?;
    let mut messages = master.listen_at(&server.address).await?;
    let commands = &mut server.connection.commands;
    let inspecting = ask_for_all(commands, &mut messages, is_cluster);
    let inspection = in_time(INSPECTION_DEADLINE, inspecting).await?;
    Ok((server.address.to_string(), inspection))
}

async fn ask_for_all(
    commands: &mut MultiplexedConnection,
    messages: &mut PubSub,
    is_cluster: bool,
) -> RedisResult<Inspection> {
    let info: Option<String> = redis::cmd("INFO").query_async(commands).await.ok();
    let info = info.unwrap_or_default();
    let facts: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let fact = |name| facts.get(name).map(|value| (*value).to_owned());
    // Managed servers often do not allow it, and neither does a user that may do only what is needed.
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("min-replicas-*");
    let settings: HashMap<String, String> = command.query_async(commands).await.unwrap_or_default();
    let setting = |name| settings.get(name).and_then(|it: &String| it.parse().ok());
    let time: Option<(u64, u64)> = redis::cmd("TIME").query_async(commands).await.ok();
    Ok(Inspection {
        version: fact("redis_version"),
        maxmemory_policy: fact("maxmemory_policy"),
        role: fact("role"),
        replicas: fact("connected_slaves").and_then(|count| count.parse().ok()),
        min_replicas_to_write: setting("min-replicas-to-write"),
        min_replicas_max_lag: setting("min-replicas-max-lag"),
        time_ms: time.map(|(seconds, micros)| seconds * 1000 + micros / 1000),
        access: access::probe(commands, messages, is_cluster).await?,
    })
}
