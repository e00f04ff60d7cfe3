//! The directory that replicas share: Redis, behind one link of ours.

use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{
    Beat, CLUSTER_LIST_TERM, Completeness, Directory, DirectoryError, DirectoryEvent, Events,
    Launch, LaunchClaim, LaunchEnd, MAX_LAUNCH_KEYS, MAX_TALLY_OPERATIONS, Placed, Replica,
    Reservation, Spending, Tally, Terms, WORKER_MEMORY,
};
use crate::domain::ids::{
    EnvironmentId, LaunchKey, RateId, TallyId, TenantDigest, Timestamp, WorkerId,
};
use crate::domain::placement::{Holding, Placement, Sighting, WorkerReport};
use crate::domain::rate::Rate;

mod access;
mod channel;
mod cluster;
mod dial;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inspect;
mod keys;
mod link;
mod master;
mod names;
mod pace;
mod reconcile;
mod records;
mod scripts;
mod servers;
mod slot;
mod step;
mod trouble;
mod url;

pub use access::{Access, rules as acl_rules};
pub use cluster::{CLUSTER_SLOTS, ClusterMaster, ClusterState};
pub use dial::RedisSettings;
pub use inspect::{Inspected, Inspection, SentinelReport, ask_sentinels, inspect};
pub use url::{BadRedisUrl, RedisUrl};

use crate::clock::Clock;
use channel::Channel;
use reconcile::Claimed;
use servers::Servers;
use step::Step;

/// Soft state in Redis.
#[derive(Debug)]
pub struct Redis {
    servers: Servers,
    channel: Channel,
    terms: Terms,
    clock: Clock,
}

impl Redis {
    /// Links to servers, which may be down.
    pub async fn open(settings: &RedisSettings, clock: Clock, terms: Terms) -> Self {
        let servers = Servers::open(settings).await;
        let channel = Channel::new(servers.source());
        let list = match servers {
            Servers::Master { .. } => terms.list,
            Servers::Cluster(_) => terms.list.min(CLUSTER_LIST_TERM),
        };
        let terms = Terms { list, ..terms };
        Self { servers, channel, terms, clock }
    }
}

#[async_trait]
impl Directory for Redis {
    async fn beat(&self, report: &WorkerReport) -> Result<Beat, DirectoryError> {
        let mut script = scripts::BEAT.key(keys::worker(&report.worker));
        script
            .key(keys::SEEN)
            .key(keys::REPORTS)
            .arg(report.worker.as_str())
            .arg(records::fencing(report.incarnation.0))
            .arg(records::report(report))
            .arg(records::digest(&report.list_digest))
            .arg(millis(self.terms.list))
            .arg(millis(WORKER_MEMORY));
        match self.servers.run(&script).await? {
            0 => Ok(Beat::Fenced),
            1 => Ok(Beat::Current),
            2 => Ok(Beat::ListWanted),
            _ => Err(records::unreadable("an answer to a heartbeat")),
        }
    }

    async fn reconcile(
        &self,
        report: &WorkerReport,
        holdings: &[Holding],
    ) -> Result<(), DirectoryError> {
        self.take_list(report, holdings).await
    }

    async fn fleet(&self) -> Result<Vec<Sighting>, DirectoryError> {
        let mut script = scripts::FLEET.key(keys::SEEN);
        script.key(keys::REPORTS).arg(millis(self.terms.worker));
        let reports: Vec<(u64, String)> = self.servers.run(&script).await?;
        let now = self.clock.now().as_millis();
        let mut fleet = reports
            .iter()
            .map(|(age, report)| records::sighting(now.saturating_sub(*age), report))
            .collect::<Result<Vec<_>, _>>()?;
        fleet.sort_by(|a, b| a.report.worker.cmp(&b.report.worker));
        Ok(fleet)
    }

    async fn announce(&self, replica: &Replica) -> Result<Vec<Replica>, DirectoryError> {
        let mut script = scripts::ANNOUNCE.key(keys::REPLICAS);
        script.key(keys::URLS).arg(&replica.id).arg(&replica.url).arg(millis(self.terms.replica));
        let all: Vec<(String, String)> = self.servers.run(&script).await?;
        let mut all: Vec<_> = all.into_iter().map(|(id, url)| Replica { id, url }).collect();
        all.sort();
        Ok(all)
    }

    async fn withdraw(&self, replica: &Replica) -> Result<(), DirectoryError> {
        let mut script = scripts::WITHDRAW.key(keys::REPLICAS);
        script.key(keys::URLS).arg(&replica.id).arg(&replica.url);
        self.servers.run(&script).await
    }

    async fn complete(&self, workers: &[WorkerId]) -> Result<Completeness, DirectoryError> {
        let mut script = scripts::COMPLETE.key(keys::COMPLETE);
        for worker in workers {
            script.key(keys::worker(worker));
        }
        let (since, missing): (u64, Vec<usize>) =
            self.servers.run(script.arg(millis(WORKER_MEMORY))).await?;
        if since > 0 {
            return Ok(Completeness::Since(Timestamp::from_millis(since)));
        }
        let missing = missing.iter().filter_map(|it| workers.get(it.checked_sub(1)?)).cloned();
        Ok(Completeness::Missing(missing.collect()))
    }

    async fn reserve(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        limit: u32,
    ) -> Result<Reservation, DirectoryError> {
        // Quotas are in other slots, so this is a step of its own; whoever is between the two is one of those under way.
        let mut command = redis::cmd("EXISTS");
        command.arg(keys::COMPLETE);
        if !self.servers.operate::<bool>(&Step::on(keys::COMPLETE, command)).await? {
            return Err(DirectoryError::Incomplete);
        }
        let mut script = scripts::RESERVE.key(keys::quota(tenant));
        script.arg(environment.to_string()).arg(limit).arg(millis(self.terms.reservation));
        let granted = self.servers.run(&script).await?;
        Ok(if granted { Reservation::Granted } else { Reservation::Full })
    }

    async fn place(&self, holding: &Holding) -> Result<Placed, DirectoryError> {
        let worker = &holding.placement.worker;
        // First the index: what is placed but not in it would never be released.
        self.enter(worker, &[holding]).await?;
        match self.claim(worker, holding.tenant, &[holding]).await?[..] {
            [Claimed::Noted] => Ok(Placed::Noted),
            [Claimed::Outdated | Claimed::JustReleased] => Ok(Placed::Stale),
            _ => Err(records::unreadable("an answer about a placement")),
        }
    }

    async fn locate(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
    ) -> Result<Option<Placement>, DirectoryError> {
        let (key, mut command) = (keys::environment(tenant, environment), redis::cmd("HMGET"));
        command.arg(&key).arg(&records::PLACEMENT);
        records::placement(self.servers.operate(&Step::on(&key, command)).await?)
    }

    async fn release(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
    ) -> Result<(), DirectoryError> {
        let mut script = scripts::RELEASE.key(keys::quota(tenant));
        script
            .key(keys::environment(tenant, environment))
            .arg(environment.to_string())
            .arg(millis(self.terms.settling));
        self.servers.run(&script).await
    }

    async fn spend(
        &self,
        tenant: TenantDigest,
        rates: &[(RateId, Rate)],
    ) -> Result<Spending, DirectoryError> {
        let Some((first, others)) = rates.split_first() else {
            return Ok(Spending { granted: true, used: Vec::new() });
        };
        let mut script = scripts::SPEND.key(keys::rate(tenant, first.0));
        for (id, _) in others {
            script.key(keys::rate(tenant, *id));
        }
        for (_, rate) in rates {
            // Rounded up, so that never more is granted than the rate.
            let interval = micros(rate.interval() + Duration::from_nanos(999));
            script.arg(interval).arg(interval.saturating_mul(rate.burst().get().into()));
        }
        let (granted, used): (bool, Vec<u64>) = self.servers.run(&script).await?;
        if used.len() != rates.len() {
            return Err(records::unreadable("an answer about rates"));
        }
        Ok(Spending { granted, used: used.into_iter().map(Duration::from_micros).collect() })
    }

    async fn claim_launch(
        &self,
        tenant: TenantDigest,
        key: LaunchKey,
        mine: Launch,
    ) -> Result<LaunchClaim, DirectoryError> {
        let launch = keys::launch(tenant, key);
        // A step of its own, for one of a single key goes on in a cluster while its slot moves.
        let mut script = scripts::ENTER_LAUNCH.key(keys::launches(tenant));
        script.arg(key.to_string()).arg(MAX_LAUNCH_KEYS).arg(millis(self.terms.launch));
        let wait: u64 = self.servers.run(&script).await?;
        if wait > 0 {
            // The release before noted no keys: what was claimed there is known all the same.
            let mut command = redis::cmd("EXISTS");
            command.arg(&launch);
            if !self.servers.operate::<bool>(&Step::on(&launch, command)).await? {
                return Ok(LaunchClaim::Full { wait: Duration::from_millis(wait) });
            }
        }
        let mut script = scripts::CLAIM_LAUNCH.key(launch);
        script
            .arg(mine.environment.to_string())
            .arg(records::moment(mine.not_after))
            .arg(millis(self.terms.launch_claim))
            .arg(millis(self.terms.launch));
        let (word, environment, not_after): (String, String, u64) =
            self.servers.run(&script).await?;
        records::launch_claim(&word, &environment, not_after)
    }

    async fn settle_launch(
        &self,
        tenant: TenantDigest,
        key: LaunchKey,
        environment: EnvironmentId,
        how: LaunchEnd,
    ) -> Result<(), DirectoryError> {
        let mut script = scripts::SETTLE_LAUNCH.key(keys::launch(tenant, key));
        if how == LaunchEnd::NotMade {
            script.key(keys::launches(tenant));
        }
        let how = match how {
            LaunchEnd::Made => "made",
            LaunchEnd::NotMade => "not-made",
            LaunchEnd::Open => "open",
        };
        script.arg(environment.to_string()).arg(how).arg(key.to_string());
        self.servers.run(&script).await
    }

    async fn open_tally(&self, tally: TallyId, term: Duration) -> Result<(), DirectoryError> {
        self.servers.run(scripts::OPEN_TALLY.key(keys::tally(tally)).arg(millis(term))).await
    }

    async fn add_to_tally(
        &self,
        tally: TallyId,
        operation: &str,
        amount: i64,
        term: Duration,
    ) -> Result<Tally, DirectoryError> {
        // A digest, so that an operation takes the same room whatever its name.
        let operation: [u8; 32] = Sha256::digest(operation).into();
        let mut script = scripts::ADD_TO_TALLY.key(keys::tally(tally));
        script.arg(&operation[..16]).arg(amount).arg(millis(term)).arg(MAX_TALLY_OPERATIONS);
        let answer: Vec<String> = self.servers.run(&script).await?;
        let answer: Vec<&str> = answer.iter().map(String::as_str).collect();
        let total = |total: &str, repeated| {
            let total = total.parse().map_err(|_| records::unreadable("a tally's total"))?;
            Ok(Tally::Total { total, repeated })
        };
        match answer[..] {
            ["added", sum] => total(sum, false),
            ["repeated", sum] => total(sum, true),
            ["lost"] => Ok(Tally::Lost),
            ["full"] => Ok(Tally::Full),
            ["overflow"] => Ok(Tally::Overflow),
            _ => Err(records::unreadable("an answer about a tally")),
        }
    }

    async fn publish(&self, event: &DirectoryEvent) -> Result<(), DirectoryError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(keys::EVENTS).arg(records::event(event));
        self.servers.operate::<u64>(&Step::anywhere(command)).await.map(drop)
    }

    async fn subscribe(&self) -> Events {
        self.channel.subscribe().await
    }

    async fn ping(&self) -> Result<(), DirectoryError> {
        self.servers.operate(&Step::on(keys::SEEN, redis::cmd("PING"))).await
    }
}

/// A part of a rate as its script takes it.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A term as the scripts take it.
fn millis(term: Duration) -> u64 {
    u64::try_from(term.as_millis()).unwrap_or(u64::MAX)
}
