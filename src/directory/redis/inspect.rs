//! What a Redis server says of itself, for the doctor.

use std::collections::HashMap;
use std::time::Duration;

use redis::RedisResult;

use super::dial::RedisSettings;
use super::master::{Master, Said, Server};
use super::trouble::in_time;
use super::url::Address;
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

/// How long a server may take to tell.
const INSPECTION_DEADLINE: Duration = Duration::from_secs(2);

/// Asks the server that takes writes for its settings, on a connection of its own. A named one may be a replica.
pub async fn inspect(settings: &RedisSettings) -> Result<Inspection, DirectoryError> {
    let server = Master::new(settings).reach().await?;
    Ok(in_time(INSPECTION_DEADLINE, ask(server)).await?)
}

/// Asks each Sentinel for the master; there are none where a server is named.
pub async fn ask_sentinels(settings: &RedisSettings) -> Vec<SentinelReport> {
    let said = Master::new(settings).ask_all().await.into_iter();
    let report = |(sentinel, said): (Address, Said)| SentinelReport {
        sentinel: sentinel.to_string(),
        master: said.map(|it| it.map(|it| it.to_string())).map_err(DirectoryError::from),
    };
    said.map(report).collect()
}

async fn ask(server: Server) -> RedisResult<Inspection> {
    let mut connection = server.connection.commands.clone();
    let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
    let facts: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let fact = |name| facts.get(name).map(|value| (*value).to_owned());
    // Managed servers often do not allow it.
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("min-replicas-to-write");
    let settings: HashMap<String, String> =
        command.query_async(&mut connection).await.unwrap_or_default();
    Ok(Inspection {
        version: fact("redis_version"),
        maxmemory_policy: fact("maxmemory_policy"),
        role: fact("role"),
        replicas: fact("connected_slaves").and_then(|count| count.parse().ok()),
        min_replicas_to_write: settings.values().next().and_then(|count| count.parse().ok()),
    })
}
