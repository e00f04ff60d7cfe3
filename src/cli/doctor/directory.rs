//! Redis, and the workers that have reported to it through some gateway.

use crate::clock::Clock;
use crate::directory::redis::{Inspection, RedisUrl, inspect};
use crate::directory::{DirectoryConfig, open};
use crate::domain::placement::Sighting;

use super::finding::{Finding, Report, causes};
use super::network;

const REDIS: &str = "redis";
const WORKERS: &str = "workers";

pub(super) async fn check(report: &mut Report<'_>, url: &RedisUrl) {
    match inspect(url).await {
        Ok(inspection) => judge(&inspection, url).into_iter().for_each(|it| report.add(it)),
        Err(error) => {
            let mend = "start Redis, or correct --redis";
            report.add(Finding::bad(REDIS, format!("{url}: {}", causes(&error)), mend));
            return;
        }
    }
    let directory = open(&DirectoryConfig::Redis(url.clone()), Clock::system()).await;
    match directory.fleet().await {
        Ok(fleet) if fleet.is_empty() => report.add(Finding::bad(
            WORKERS,
            "none has reported to a gateway lately",
            "start a gateway, then baton worker --worker-key-file FILE --gateway INTERNAL-URL",
        )),
        Ok(fleet) => {
            for worker in &fleet {
                report.add(reach(worker).await);
            }
        }
        Err(error) => {
            let mend = "flush what another program keeps there, or give --redis another database";
            report.add(Finding::bad(WORKERS, causes(&error), mend));
        }
    }
}

fn judge(found: &Inspection, url: &RedisUrl) -> Vec<Finding> {
    let version = found.version.as_deref().unwrap_or("unknown");
    let policy = found.maxmemory_policy.as_deref();
    let mut findings = vec![match policy {
        Some("noeviction") => {
            Finding::good(REDIS, format!("{url}, version {version}, maxmemory-policy noeviction"))
        }
        None => Finding::note(
            REDIS,
            format!("{url}, version {version}, does not tell its maxmemory-policy"),
        ),
        Some(policy) => Finding::bad(
            REDIS,
            format!("maxmemory-policy is {policy}: quotas and placements could vanish"),
            "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf",
        ),
    }];
    if found.role.as_deref().is_some_and(|role| role != "master") {
        let mend = "give --redis the address of the primary";
        findings.push(Finding::bad(REDIS, "it is a replica and takes no writes", mend));
    }
    if found.replicas.is_some_and(|count| count > 0) && found.min_replicas_to_write == Some(0) {
        let detail = "it takes writes that no replica has: a failover forgets the latest";
        findings.push(Finding::note(REDIS, format!("{detail} (min-replicas-to-write 1 mends it)")));
    }
    findings
}

async fn reach(worker: &Sighting) -> Finding {
    let worker = &worker.report;
    let detail = format!(
        "{} at {}, {} of {} environments",
        worker.worker, worker.url, worker.environments, worker.capacity
    );
    match network::connect(&worker.url).await {
        Ok(()) => Finding::good(WORKERS, detail),
        Err(why) => Finding::bad(
            WORKERS,
            format!("{detail}: not reached from here ({why})"),
            "correct the worker's --advertise, or open the way from the gateways to it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_must_not_evict_and_must_take_writes() {
        let url = RedisUrl::parse("redis://u:s3cret@h").unwrap();
        let check = |policy: &str, role: &str, expected: &[&str]| {
            let found = Inspection {
                maxmemory_policy: Some(policy.into()),
                role: Some(role.into()),
                ..Inspection::default()
            };
            let findings = judge(&found, &url);
            assert_eq!(findings.len(), expected.len(), "{findings:?}");
            for (finding, expected) in findings.iter().zip(expected) {
                let text = format!("{finding:?}");
                assert!(text.contains(expected) && !text.contains("s3cret"), "{text}");
            }
        };
        check("noeviction", "master", &["Good"]);
        check("allkeys-lru", "master", &["CONFIG SET maxmemory-policy noeviction"]);
        check("noeviction", "slave", &["Good", "takes no writes"]);
    }
}
