//! What is wrong with the servers of the directory, and why it matters.

use std::time::Duration;

use crate::directory::redis::{
    CLUSTER_SLOTS, ClusterState, Inspected, Inspection, RedisUrl, acl_rules,
};
use crate::domain::ids::Timestamp;

use super::directory::REDIS;
use super::finding::{Finding, causes};

/// Clocks further apart make what a handle's life and a quota's place are differ; much further, useless.
const SKEW: Duration = Duration::from_secs(2);
const MUCH_SKEW: Duration = Duration::from_secs(30);
/// A master that has not heard its replicas for longer should take no writes.
const MAX_LAG_SECONDS: u32 = 2;
/// The release before which there are neither users with rights nor TLS.
const OLDEST_MAJOR: u32 = 6;

/// Judges all that was found. `now` is our time.
pub(super) fn judge(found: &Inspected, url: &RedisUrl, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(judge_wire(url));
    if let Some(cluster) = &found.cluster {
        findings.extend(judge_cluster(cluster));
    }
    for (address, said) in &found.servers {
        let server = Server { address, is_one_of_many: found.cluster.is_some(), url };
        match said {
            Ok(inspection) => findings.extend(server.judge(inspection, now)),
            Err(error) => findings.push(Finding::bad(
                REDIS,
                format!("{address}: {}", causes(error)),
                "start it, or let its replica take its place (redis-cli CLUSTER FAILOVER there)",
            )),
        }
    }
    findings
}

fn judge_wire(url: &RedisUrl) -> Option<Finding> {
    let is_safe = url.is_encrypted() || url.is_loopback();
    let detail = "its password and all that it holds cross the network in the clear (rediss:// instead of redis:// mends it)";
    (!is_safe).then(|| Finding::note(REDIS, detail))
}

fn judge_cluster(cluster: &ClusterState) -> Vec<Finding> {
    let ClusterState { is_ok, unserved, masters } = cluster;
    let mut findings = Vec::new();
    if *unserved > 0 {
        findings.push(Finding::bad(
            REDIS,
            format!(
                "{unserved} of the cluster's {CLUSTER_SLOTS} slots have no master: what is there is away"
            ),
            "start the master that is missing, or redis-cli --cluster fix HOST:PORT",
        ));
    } else if !is_ok {
        findings.push(Finding::bad(
            REDIS,
            "the cluster says that it is down",
            "see redis-cli CLUSTER NODES for what is missing",
        ));
    } else {
        let count = masters.len();
        findings
            .push(Finding::good(REDIS, format!("a cluster of {count} masters, all slots served")));
    }
    let alone = masters.iter().filter(|it| it.replicas == 0).map(|it| it.address.as_str());
    let alone: Vec<&str> = alone.collect();
    if !alone.is_empty() {
        let detail = format!(
            "no replica follows {}: nobody takes its place when it fails (redis-cli --cluster add-node … --cluster-slave)",
            alone.join(", ")
        );
        findings.push(Finding::note(REDIS, detail));
    }
    findings
}

/// One server that takes writes, or should.
struct Server<'a> {
    address: &'a str,
    is_one_of_many: bool,
    url: &'a RedisUrl,
}

impl Server<'_> {
    fn judge(&self, found: &Inspection, now: Timestamp) -> Vec<Finding> {
        let mut findings = vec![self.judge_memory(found)];
        findings.extend(self.judge_version(found));
        if found.is_replica() {
            let mend = "give --redis the address of the primary";
            findings.push(self.bad("it is a replica and takes no writes", mend));
            return findings;
        }
        findings.extend(self.judge_replicas(found));
        findings.extend(self.judge_clock(found, now));
        findings.extend(self.judge_access(found));
        findings
    }

    fn judge_memory(&self, found: &Inspection) -> Finding {
        let tls = if self.url.is_encrypted() { ", over TLS" } else { "" };
        let version = found.version.as_deref().unwrap_or("unknown");
        let url = self.url.to_string();
        let at = if self.is_one_of_many { self.address } else { &url };
        match found.maxmemory_policy.as_deref() {
            Some("noeviction") => {
                let detail = format!("{at}{tls}, version {version}, maxmemory-policy noeviction");
                Finding::good(REDIS, detail)
            }
            None => {
                let detail =
                    format!("{at}{tls}, version {version}, does not tell its maxmemory-policy");
                Finding::note(REDIS, detail)
            }
            Some(policy) => self.bad(
                &format!("maxmemory-policy is {policy}: quotas and placements could vanish"),
                "redis-cli CONFIG SET maxmemory-policy noeviction, and in redis.conf",
            ),
        }
    }

    fn judge_version(&self, found: &Inspection) -> Option<Finding> {
        let version = found.version.as_deref()?;
        let major: u32 = version.split('.').next()?.parse().ok()?;
        let detail = format!("version {version} knows no users with rights of their own");
        (major < OLDEST_MAJOR).then(|| self.bad(&detail, "install Redis 7 or later"))
    }

    fn judge_replicas(&self, found: &Inspection) -> Vec<Finding> {
        let Some(replicas) = found.replicas else { return Vec::new() };
        let mut findings = Vec::new();
        match (found.min_replicas_to_write, found.min_replicas_max_lag) {
            (Some(needed), _) if needed > replicas => {
                return vec![self.bad(
                    &format!("takes no writes until {needed} replicas follow it, and {replicas} do"),
                    "start its replicas, or CONFIG SET min-replicas-to-write 0 while there are none",
                )];
            }
            _ if replicas == 0 && !self.url.has_replicas() => {}
            (Some(0), _) => {
                let detail = "it takes writes that no replica has: a failover forgets the latest";
                findings.push(self.note(&format!("{detail} (min-replicas-to-write 1 mends it)")));
            }
            (Some(_), Some(lag)) if lag > MAX_LAG_SECONDS => findings.push(self.note(&format!(
                "cut off from its replicas it takes writes for {lag} s more, which a failover forgets \
                 (min-replicas-max-lag 1 mends it)"
            ))),
            (Some(_), _) => {}
            (None, _) => findings
                .push(self.note("it does not tell its min-replicas-to-write: see that it is 1")),
        }
        if replicas == 0 && self.url.has_replicas() {
            let detail =
                "no replica follows it, so nobody takes its place (start one with --replicaof)";
            findings.push(self.note(detail));
        }
        findings
    }

    fn judge_clock(&self, found: &Inspection, now: Timestamp) -> Option<Finding> {
        let there = Timestamp::from_millis(found.time_ms?);
        let apart = there.since(now).max(now.since(there));
        let detail = format!("its clock and ours are {} s apart", apart.as_secs());
        if apart > MUCH_SKEW {
            return Some(self.bad(&detail, "set both by the same time service (NTP)"));
        }
        let mend = "one time service for both (NTP) mends it";
        (apart > SKEW).then(|| self.note(&format!("{detail} ({mend})")))
    }

    fn judge_access(&self, found: &Inspection) -> Option<Finding> {
        let user = found.access.user.as_deref().unwrap_or("our user");
        if !found.access.lacks.is_empty() {
            let detail = format!("{user} lacks the rights {}", found.access.lacks.join(" "));
            return Some(self.bad(&detail, &format!("ACL SETUSER {user} {}", acl_rules())));
        }
        let is_open = found.access.is_broad && !self.url.is_loopback();
        let detail = format!(
            "{user} may change what is not ours, and so may who steals its password (a user of our own mends it: \
             ACL SETUSER baton on >PASSWORD {})",
            acl_rules()
        );
        is_open.then(|| self.note(&detail))
    }

    fn bad(&self, detail: &str, mend: &str) -> Finding {
        Finding::bad(REDIS, self.about(detail), mend)
    }

    fn note(&self, detail: &str) -> Finding {
        Finding::note(REDIS, self.about(detail))
    }

    /// Of many it is said which one is meant.
    fn about(&self, detail: &str) -> String {
        if self.is_one_of_many { format!("{}: {detail}", self.address) } else { detail.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DirectoryError;
    use crate::directory::redis::Access;

    const NOW: u64 = 1_800_000_000_000;

    fn sound() -> Inspection {
        Inspection {
            version: Some("7.2.4".into()),
            maxmemory_policy: Some("noeviction".into()),
            role: Some("master".into()),
            replicas: Some(1),
            min_replicas_to_write: Some(1),
            min_replicas_max_lag: Some(1),
            time_ms: Some(NOW),
            access: Access::default(),
        }
    }

    fn check_at(url: &str, found: Inspection, expected: &[&str]) {
        let servers = vec![("h:6379".to_owned(), Ok(found))];
        let found = Inspected { cluster: None, servers };
        compare(&judge(&found, &url_of(url), Timestamp::from_millis(NOW)), expected);
    }

    fn url_of(text: &str) -> RedisUrl {
        RedisUrl::parse(text).unwrap()
    }

    fn compare(findings: &[Finding], expected: &[&str]) {
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, expected) in findings.iter().zip(expected) {
            let text = format!("{finding:?}");
            assert!(text.contains(expected) && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn redis_must_not_evict_and_must_take_writes() {
        let check = |change: &dyn Fn(&mut Inspection), expected: &[&str]| {
            let mut found = sound();
            change(&mut found);
            check_at("rediss://u:s3cret@h", found, expected);
        };
        check(&|_| {}, &["Good"]);
        let evicts = |it: &mut Inspection| it.maxmemory_policy = Some("allkeys-lru".into());
        check(&evicts, &["CONFIG SET maxmemory-policy noeviction"]);
        check(&|it| it.role = Some("slave".into()), &["Good", "takes no writes"]);
        check(&|it| it.version = Some("5.0.14".into()), &["Good", "install Redis 7"]);
    }

    #[test]
    fn a_master_with_replicas_must_wait_for_one() {
        let check = |replicas: u32, needed: Option<u32>, lag: u32, expected: [&[&str]; 2]| {
            let urls = ["rediss://h", "rediss+sentinel://h/m"];
            for (url, expected) in urls.into_iter().zip(expected) {
                let found = Inspection {
                    replicas: Some(replicas),
                    min_replicas_to_write: needed,
                    min_replicas_max_lag: Some(lag),
                    ..sound()
                };
                check_at(url, found, expected);
            }
        };
        check(1, Some(1), 1, [&["Good"]; 2]);
        check(1, Some(0), 10, [&["Good", "Note"]; 2]);
        check(1, Some(1), 10, [&["Good", "takes writes for 10 s more"]; 2]);
        check(1, None, 1, [&["Good", "does not tell its min-replicas"]; 2]);
        check(0, Some(1), 1, [&["Good", "takes no writes until 1 replicas"]; 2]);
        check(0, Some(0), 10, [&["Good"], &["Good", "failover forgets", "nobody takes its place"]]);
    }

    #[test]
    fn clocks_may_differ_by_seconds_and_not_by_half_a_minute() {
        for (off, expected) in [
            (-2_000, &["Good"][..]),
            (2_500, &["Good", "Note"]),
            (-30_000, &["Good", "Note"]),
            (31_000, &["Good", "31 s apart"]),
        ] {
            let found = Inspection { time_ms: NOW.checked_add_signed(off), ..sound() };
            check_at("rediss://h", found, expected);
        }
    }

    #[test]
    fn a_user_has_the_rights_that_are_needed_and_off_loopback_no_more() {
        let with = |lacks: &[&str], is_broad| {
            let lacks = lacks.iter().map(|it| (*it).to_owned()).collect();
            Inspection { access: Access { user: Some("u".into()), lacks, is_broad }, ..sound() }
        };
        check_at("rediss://h", with(&[], false), &["Good"]);
        check_at("rediss://h", with(&[], true), &["Good", "what is not ours"]);
        check_at("redis://127.0.0.1", with(&[], true), &["Good"]);
        check_at(
            "redis://localhost",
            with(&["+zadd", "~baton:*"], false),
            &["Good", "u lacks the rights +zadd ~baton:*"],
        );
        check_at("redis://h", with(&[], false), &["in the clear", "Good"]);
    }

    #[test]
    fn a_cluster_serves_all_slots_and_has_a_replica_for_each_master() {
        let away = || Err(DirectoryError::Away { source: None });
        let check = |is_ok, unserved, expected: &[&str]| {
            let cluster = Some(ClusterState { is_ok, unserved, masters: Vec::new() });
            let servers = vec![("a:1".to_owned(), Ok(sound())), ("b:2".to_owned(), away())];
            let found = Inspected { cluster, servers };
            let url = url_of("rediss-cluster://:s3cret@h");
            compare(&judge(&found, &url, Timestamp::from_millis(NOW)), expected);
        };
        check(true, 0, &["Good", "a:1, over TLS, version", "b:2: the directory is away"]);
        check(false, 7, &["7 of the cluster's 16384 slots", "a:1", "b:2"]);
        check(false, 0, &["says that it is down", "a:1", "b:2"]);
    }
}
