//! Making the directory's picture of one worker equal to the worker's own list.
//!
//! Tenants are in different slots, so this takes many steps, any of which may be the last. Until all are done no list
//! is known and the next heartbeat wants one again.

use std::collections::HashMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::step::Step;
use super::{Redis, keys, millis, records, scripts};
use crate::directory::{DirectoryError, WORKER_MEMORY};
use crate::domain::ids::{EnvironmentId, TenantDigest, WorkerId};
use crate::domain::placement::{Holding, WorkerReport};

/// How many environments one step handles: no step may hold up Redis.
const BATCH: usize = 100;
/// How many steps are under way at once.
const AT_ONCE: usize = 8;

/// An environment in a worker's index that its list does not have.
struct Missing {
    environment: EnvironmentId,
    entry: String,
    indexed_at: u64,
}

/// What came of a worker's claim to hold an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    Noted,
    Outdated,
    JustReleased,
}

impl Redis {
    pub(super) async fn take_list(
        &self,
        report: &WorkerReport,
        holdings: &[Holding],
    ) -> Result<(), DirectoryError> {
        let (worker, digest) = (&report.worker, records::digest(&report.list_digest));
        let begun: bool = self
            .servers
            .run(
                scripts::BEGIN_LIST
                    .key(keys::worker(worker))
                    .arg(records::fencing(report.incarnation.0))
                    .arg(&digest)
                    .arg(millis(WORKER_MEMORY)),
            )
            .await?;
        if !begun {
            return Ok(());
        }
        let index = self.index(worker).await?;
        let placed = self.place_listed(worker, holdings, &index).await?;
        let released = self.release_unlisted(worker, holdings, index).await?;
        let settled = u8::from(placed && released);
        let finish = &scripts::FINISH_LIST;
        self.servers.run(finish.key(keys::worker(worker)).arg(&digest).arg(settled)).await
    }

    /// Notes in the worker's index that environments are, or are about to be, placed there.
    pub(super) async fn enter(
        &self,
        worker: &WorkerId,
        holdings: &[&Holding],
    ) -> Result<(), DirectoryError> {
        let mut script = scripts::INDEX.key(keys::index(worker));
        for holding in holdings {
            script
                .arg(holding.environment.to_string())
                .arg(holding.tenant.to_string())
                .arg(records::moment(holding.not_after));
        }
        self.servers.run(&script).await
    }

    /// Places environments of one worker and one tenant.
    pub(super) async fn claim(
        &self,
        worker: &WorkerId,
        tenant: TenantDigest,
        holdings: &[&Holding],
    ) -> Result<Vec<Claimed>, DirectoryError> {
        let mut script = scripts::PLACE.key(keys::quota(tenant));
        script.arg(worker.as_str());
        for holding in holdings {
            script
                .key(keys::environment(tenant, holding.environment))
                .arg(holding.environment.to_string())
                .arg(holding.owner.to_string())
                .arg(records::fencing(holding.placement.epoch.0))
                .arg(records::moment(holding.not_after));
        }
        let answers: Vec<u8> = self.servers.run(&script).await?;
        let read = |answer| match answer {
            0 => Ok(Claimed::Outdated),
            1 => Ok(Claimed::Noted),
            2 => Ok(Claimed::JustReleased),
            _ => Err(records::unreadable("an answer about a placement")),
        };
        answers.into_iter().map(read).collect()
    }

    async fn index(&self, worker: &WorkerId) -> Result<Vec<(String, String)>, DirectoryError> {
        let (key, mut command) = (keys::index(worker), redis::cmd("HGETALL"));
        command.arg(&key);
        self.servers.operate(&Step::on(&key, command)).await
    }

    /// Places all that a list has; whether nothing of it was released a moment ago.
    async fn place_listed(
        &self,
        worker: &WorkerId,
        holdings: &[Holding],
        index: &[(String, String)],
    ) -> Result<bool, DirectoryError> {
        let known: HashMap<_, _> = index
            .iter()
            .map(|(environment, entry)| (environment.as_str(), entry.as_str()))
            .collect();
        let new = |it: &&Holding| {
            let entry = known.get(it.environment.to_string().as_str());
            entry.and_then(|entry| records::indexed(entry).ok()).is_none_or(|(t, _)| t != it.tenant)
        };
        let new: Vec<&Holding> = holdings.iter().filter(new).collect();
        // First the index: what is placed but not in it would never be released.
        for batch in new.chunks(BATCH) {
            self.enter(worker, batch).await?;
        }
        let tenants = by_tenant(holdings.iter().map(|it| (it.tenant, it)));
        let mut steps = Vec::new();
        for (tenant, all) in &tenants {
            steps.extend(all.chunks(BATCH).map(|batch| self.claim(worker, *tenant, batch)));
        }
        let claims: Vec<_> = stream::iter(steps).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(!claims.into_iter().flatten().any(|claimed| claimed == Claimed::JustReleased))
    }

    /// Releases what the index has and the list has not; whether all of it was old enough to tell.
    async fn release_unlisted(
        &self,
        worker: &WorkerId,
        holdings: &[Holding],
        index: Vec<(String, String)>,
    ) -> Result<bool, DirectoryError> {
        let listed: HashMap<_, _> = holdings.iter().map(|it| (it.environment, it.tenant)).collect();
        let (mut missing, mut unreadable) = (Vec::new(), Vec::new());
        for (name, entry) in index {
            let read = EnvironmentId::from_hex(&name).zip(records::indexed(&entry).ok());
            let Some((environment, (tenant, indexed_at))) = read else {
                unreadable.push((name, entry));
                continue;
            };
            if listed.get(&environment) != Some(&tenant) {
                missing.push((tenant, Missing { environment, entry, indexed_at }));
            }
        }
        self.drop_unreadable(worker, &unreadable).await?;
        let tenants = by_tenant(missing);
        let mut steps = Vec::new();
        for (tenant, all) in &tenants {
            steps.extend(all.chunks(BATCH).map(|batch| self.unlist(worker, *tenant, batch)));
        }
        let settled: Vec<bool> =
            stream::iter(steps).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(settled.into_iter().all(|settled| settled))
    }

    /// Takes out of a worker's index what says nothing: kept, it would be in the way of every list.
    async fn drop_unreadable(
        &self,
        worker: &WorkerId,
        entries: &[(String, String)],
    ) -> Result<(), DirectoryError> {
        if entries.is_empty() {
            return Ok(());
        }
        tracing::warn!(%worker, dropped = entries.len(), "unreadable entries of a worker's index");
        for batch in entries.chunks(BATCH) {
            let mut script = scripts::UNINDEX.key(keys::index(worker));
            for (name, entry) in batch {
                script.arg(name).arg(entry);
            }
            self.servers.run::<()>(&script).await?;
        }
        Ok(())
    }

    async fn unlist(
        &self,
        worker: &WorkerId,
        tenant: TenantDigest,
        missing: &[Missing],
    ) -> Result<bool, DirectoryError> {
        let mut script = scripts::UNLIST.key(keys::quota(tenant));
        script.arg(worker.as_str()).arg(millis(self.terms.settling));
        for it in missing {
            script
                .key(keys::environment(tenant, it.environment))
                .arg(it.environment.to_string())
                .arg(it.indexed_at);
        }
        let answers: Vec<bool> = self.servers.run(&script).await?;
        let gone = || missing.iter().zip(&answers).filter(|(_, gone)| **gone).map(|(it, _)| it);
        if gone().next().is_some() {
            let mut script = scripts::UNINDEX.key(keys::index(worker));
            for it in gone() {
                script.arg(it.environment.to_string()).arg(&it.entry);
            }
            self.servers.run::<()>(&script).await?;
        }
        Ok(gone().count() == missing.len())
    }
}

fn by_tenant<T>(all: impl IntoIterator<Item = (TenantDigest, T)>) -> HashMap<TenantDigest, Vec<T>> {
    let mut tenants: HashMap<_, Vec<T>> = HashMap::new();
    for (tenant, it) in all {
        tenants.entry(tenant).or_default().push(it);
    }
    tenants
}
