//! Redis, and the workers that have reported to it through some gateway.

use crate::clock::Clock;
use crate::directory::redis::{
    Inspection, RedisSettings, RedisUrl, SentinelReport, ask_sentinels, inspect,
};
use crate::directory::{DirectoryConfig, open};
use crate::domain::placement::Sighting;

use super::finding::{Finding, Report, causes};
use super::network;

const REDIS: &str = "redis";
const WORKERS: &str = "workers";

pub(super) async fn check(report: &mut Report<'_>, settings: &RedisSettings) {
    let url = &settings.url;
    for finding in judge_sentinels(&ask_sentinels(settings).await) {
        report.add(finding);
    }
    match inspect(settings).await {
        Ok(inspection) => {
            for finding in judge(&inspection, url) {
                report.add(finding);
            }
            // A gateway does not use it, so nothing is there to be found.
            if inspection.is_replica() {
                return;
            }
        }
        Err(error) => {
            let mend = if url.is_encrypted() {
                "start Redis with TLS, or correct --redis, --redis-ca-file or the client's certificate"
            } else {
                "start Redis, or correct --redis"
            };
            report.add(Finding::bad(REDIS, format!("{url}: {}", causes(&error)), mend));
            return;
        }
    }
    let directory = open(&DirectoryConfig::Redis(settings.clone()), Clock::system()).await;
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

fn judge_sentinels(reports: &[SentinelReport]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut named: Vec<&str> = Vec::new();
    for SentinelReport { sentinel, master } in reports {
        findings.push(match master {
            Ok(Some(master)) => {
                named.push(master);
                Finding::good(REDIS, format!("Sentinel {sentinel} names the master {master}"))
            }
            Ok(None) => Finding::bad(
                REDIS,
                format!("Sentinel {sentinel} knows no master of that name"),
                "correct the name in --redis (redis-cli SENTINEL MASTERS lists them)",
            ),
            // One that answers is enough for us.
            Err(error) => {
                let detail = format!("Sentinel {sentinel} does not answer: {}", causes(error));
                Finding::note(REDIS, detail)
            }
        });
    }
    named.dedup();
    if named.len() > 1 {
        let detail = "the Sentinels name different masters: a failover is under way, or one of them is cut off";
        findings.push(Finding::note(REDIS, detail));
    }
    findings
}

fn judge(found: &Inspection, url: &RedisUrl) -> Vec<Finding> {
    let version = found.version.as_deref().unwrap_or("unknown");
    let tls = if url.is_encrypted() { ", over TLS" } else { "" };
    let policy = found.maxmemory_policy.as_deref();
    let mut findings = vec![match policy {
        Some("noeviction") => Finding::good(
            REDIS,
            format!("{url}{tls}, version {version}, maxmemory-policy noeviction"),
        ),
        None => Finding::note(
            REDIS,
            format!("{url}{tls}, version {version}, does not tell its maxmemory-policy"),
        ),
        Some(policy) => Finding::bad(
            REDIS,
            format!("maxmemory-policy is {policy}: quotas and placements could vanish"),
            "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf",
        ),
    }];
    if found.is_replica() {
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
    use crate::directory::DirectoryError;

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

    #[test]
    fn each_sentinel_is_told_of() {
        let says = |master: Option<&str>| Ok(master.map(str::to_owned));
        let silent = || Err(DirectoryError::Away { source: None });
        let check = |said: Vec<Result<Option<String>, DirectoryError>>, expected: &[&str]| {
            let said = said.into_iter().zip(["a:1", "b:2", "c:3"]);
            let report = |(master, sentinel): (_, &str)| SentinelReport {
                sentinel: sentinel.into(),
                master,
            };
            let reports: Vec<_> = said.map(report).collect();
            let findings = judge_sentinels(&reports);
            assert_eq!(findings.len(), expected.len(), "{findings:?}");
            for (finding, expected) in findings.iter().zip(expected) {
                assert!(format!("{finding:?}").contains(expected), "{finding:?}");
            }
        };
        check(vec![], &[]);
        let lines = ["b:2 names the master m:6", "c:3 knows no master of that name"];
        let expected = ["a:1 does not answer", lines[0], lines[1]];
        check(vec![silent(), says(Some("m:6")), says(None)], &expected);
        let expected =
            ["a:1 names the master m:6", "b:2 names the master n:6", "different masters"];
        check(vec![says(Some("m:6")), says(Some("n:6"))], &expected);
    }
}
