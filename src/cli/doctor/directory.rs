//! Redis, and the workers that have reported to it through some gateway.

use crate::clock::Clock;
use crate::directory::redis::{RedisSettings, SentinelReport, ask_sentinels, inspect};
use crate::directory::{DirectoryConfig, open};
use crate::domain::placement::Sighting;

use super::finding::{Finding, Report, causes};
use super::{network, servers};

pub(super) const REDIS: &str = "redis";
const WORKERS: &str = "workers";

pub(super) async fn check(report: &mut Report<'_>, settings: &RedisSettings) {
    let url = &settings.url;
    for finding in judge_sentinels(&ask_sentinels(settings).await) {
        report.add(finding);
    }
    match inspect(settings).await {
        Ok(inspected) => {
            for finding in servers::judge(&inspected, url, Clock::system().now()) {
                report.add(finding);
            }
            // A gateway does not use it, so nothing is there to be found.
            if inspected.is_replica() {
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
