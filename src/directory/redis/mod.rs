//! The directory that replicas share: Redis, behind one link of ours.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{
    Beat, Directory, DirectoryError, DirectoryEvent, Events, MAX_TALLY_OPERATIONS, Placed, Replica,
    Reservation, Spending, Tally, Terms, WORKER_MEMORY,
};
use crate::domain::ids::{EnvironmentId, RateId, TallyId, TenantDigest};
use crate::domain::placement::{Holding, Placement, Sighting, WorkerReport};
use crate::domain::rate::Rate;

mod channel;
mod dial;
mod inspect;
mod keys;
mod link;
mod master;
mod names;
mod pace;
mod reconcile;
mod records;
mod scripts;
mod trouble;
mod url;

pub use dial::RedisSettings;
pub use inspect::{Inspection, SentinelReport, ask_sentinels, inspect};
pub use url::{BadRedisUrl, RedisUrl};

use crate::clock::Clock;
use channel::Channel;
use link::Link;
use master::Master;
use reconcile::Claimed;

/// Soft state in Redis.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    channel: Channel,
    terms: Terms,
    clock: Clock,
}

impl Redis {
    /// Links to a server, which may be down.
    pub async fn open(settings: &RedisSettings, clock: Clock, terms: Terms) -> Self {
        let master = Arc::new(Master::new(settings));
        let link = Link::open(Arc::clone(&master)).await;
        Self { link, channel: Channel::new(master), terms, clock }
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
        match self.link.run(&script).await? {
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
        let reports: Vec<(u64, String)> = self.link.run(&script).await?;
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
        let all: Vec<(String, String)> = self.link.run(&script).await?;
        let mut all: Vec<_> = all.into_iter().map(|(id, url)| Replica { id, url }).collect();
        all.sort();
        Ok(all)
    }

    async fn withdraw(&self, replica: &Replica) -> Result<(), DirectoryError> {
        let mut script = scripts::WITHDRAW.key(keys::REPLICAS);
        script.key(keys::URLS).arg(&replica.id).arg(&replica.url);
        self.link.run(&script).await
    }

    async fn reserve(
        &self,
        tenant: TenantDigest,
        environment: EnvironmentId,
        limit: u32,
    ) -> Result<Reservation, DirectoryError> {
        let mut script = scripts::RESERVE.key(keys::quota(tenant));
        script.arg(environment.to_string()).arg(limit).arg(millis(self.terms.reservation));
        let granted = self.link.run(&script).await?;
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
        let mut command = redis::cmd("HMGET");
        command.arg(keys::environment(tenant, environment)).arg(&records::PLACEMENT);
        records::placement(self.link.query(&command).await?)
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
        self.link.run(&script).await
    }

    async fn spend(
        &self,
        tenant: TenantDigest,
        rates: &[(RateId, Rate)],
    ) -> Result<Spending, DirectoryError> {
        let mut script = scripts::SPEND.prepare_invoke();
        for (id, rate) in rates {
            // Rounded up, so that never more is granted than the rate.
            let interval = micros(rate.interval() + Duration::from_nanos(999));
            let window = interval.saturating_mul(rate.burst().get().into());
            script.key(keys::rate(tenant, *id)).arg(interval).arg(window);
        }
        let (granted, used): (bool, Vec<u64>) = self.link.run(&script).await?;
        if used.len() != rates.len() {
            return Err(records::unreadable("an answer about rates"));
        }
        Ok(Spending { granted, used: used.into_iter().map(Duration::from_micros).collect() })
    }

    async fn open_tally(&self, tally: TallyId, term: Duration) -> Result<(), DirectoryError> {
        self.link.run(scripts::OPEN_TALLY.key(keys::tally(tally)).arg(millis(term))).await
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
        let answer: Vec<String> = self.link.run(&script).await?;
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
        self.link.query::<u64>(&command).await.map(drop)
    }

    async fn subscribe(&self) -> Events {
        self.channel.subscribe().await
    }

    async fn ping(&self) -> Result<(), DirectoryError> {
        self.link.query(&redis::cmd("PING")).await
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
