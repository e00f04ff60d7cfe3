//! What a Redis server says of itself, for the doctor.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;

use super::link;
use super::url::RedisUrl;
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

/// How long an inspection may take.
const INSPECTION_DEADLINE: Duration = Duration::from_secs(2);

/// Asks a server for its settings, on a connection of its own.
pub async fn inspect(url: &RedisUrl) -> Result<Inspection, DirectoryError> {
    let asked = timeout(INSPECTION_DEADLINE, ask(url)).await;
    asked.map_err(|_| link::late())?.map_err(link::failed)
}

async fn ask(url: &RedisUrl) -> redis::RedisResult<Inspection> {
    let mut connection = url.client().get_multiplexed_async_connection().await?;
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
