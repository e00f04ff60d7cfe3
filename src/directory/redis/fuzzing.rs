//! What the fuzz targets reach of this folder: what a Redis may answer, read as an operation reads it.

use redis::{FromRedisValue, Value, from_redis_value, parse_redis_value};

use super::cluster;
use super::records;
use crate::directory::LaunchClaim;

/// A worker's report, as it would be written again.
pub fn report(text: &str) -> Option<String> {
    Some(records::report(&records::sighting(0, text).ok()?.report))
}

/// An event's message, as it would be written again.
pub fn event(message: &[u8]) -> Option<String> {
    Some(records::event(&records::told(message)?))
}

/// The worker and the epoch of a placement, from an answer as it is on the wire.
pub fn placement(answer: &[u8]) -> Option<(String, u64)> {
    let placement = records::placement(read(answer)?).ok()??;
    Some((placement.worker.to_string(), placement.epoch.0))
}

/// The environment that a key names, from an answer as it is on the wire.
pub fn launch(answer: &[u8]) -> Option<String> {
    let (word, environment, not_after): (String, String, u64) = read(answer)?;
    match records::launch_claim(&word, &environment, not_after).ok()? {
        LaunchClaim::Yours(launch) | LaunchClaim::Made(launch) => {
            Some(launch.environment.to_string())
        }
        LaunchClaim::UnderWay | LaunchClaim::Full { .. } => None,
    }
}

/// The tenant and the moment of an index's entry.
pub fn indexed(entry: &str) -> Option<(String, u64)> {
    records::indexed(entry).ok().map(|(tenant, at)| (tenant.to_string(), at))
}

/// How many slots somebody serves, from an answer to `CLUSTER SLOTS` as it is on the wire.
pub fn served_slots(answer: &[u8], info: &str) -> Option<usize> {
    let slots: Vec<Value> = read(answer)?;
    cluster::served_slots(info, &slots)
}

fn read<T: FromRedisValue>(answer: &[u8]) -> Option<T> {
    from_redis_value(parse_redis_value(answer).ok()?).ok()
}
