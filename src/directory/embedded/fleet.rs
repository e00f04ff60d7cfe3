//! The workers and replicas that were heard.

use std::collections::BTreeMap;

use super::{Overfull, WORKER_MEMORY};
use crate::directory::{Beat, Replica, Terms};
use crate::domain::ids::{Incarnation, Timestamp, WorkerId};
use crate::domain::placement::{Sighting, WorkerReport};

/// Most workers and most replicas.
const MAX_HEARD: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Fleet {
    workers: BTreeMap<WorkerId, Heard>,
    replicas: BTreeMap<String, Announced>,
}

#[derive(Debug)]
struct Heard {
    incarnation: Incarnation,
    last: Timestamp,
    sighting: Option<Sighting>,
    list: Option<List>,
}

/// The last list that the directory agreed with.
#[derive(Clone, Copy, Debug)]
struct List {
    digest: [u8; 16],
    since: Timestamp,
}

#[derive(Debug)]
struct Announced {
    url: String,
    until: Timestamp,
}

impl Fleet {
    pub(super) fn beat(
        &mut self,
        report: &WorkerReport,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Beat, Overfull> {
        let Some(heard) = self.hear(report, now)? else { return Ok(Beat::Fenced) };
        heard.sighting = Some(Sighting { report: report.clone(), seen: now });
        let agreed =
            |list: List| list.digest == report.list_digest && now < list.since.after(terms.list);
        Ok(if heard.list.is_some_and(agreed) { Beat::Current } else { Beat::ListWanted })
    }

    /// Whether a worker's list may be reconciled: not if a newer incarnation was heard.
    pub(super) fn hears(
        &mut self,
        report: &WorkerReport,
        now: Timestamp,
    ) -> Result<bool, Overfull> {
        Ok(self.hear(report, now)?.is_some())
    }

    pub(super) fn listed(&mut self, report: &WorkerReport, settled: bool, now: Timestamp) {
        if let Some(heard) = self.workers.get_mut(&report.worker) {
            heard.list = settled.then_some(List { digest: report.list_digest, since: now });
        }
    }

    pub(super) fn sightings(&self, now: Timestamp, terms: &Terms) -> Vec<Sighting> {
        let live = |it: &&Sighting| now < it.seen.after(terms.worker);
        self.workers.values().filter_map(|it| it.sighting.as_ref()).filter(live).cloned().collect()
    }

    pub(super) fn announce(
        &mut self,
        replica: &Replica,
        now: Timestamp,
        terms: &Terms,
    ) -> Result<Vec<Replica>, Overfull> {
        self.replicas.retain(|_, it| now < it.until);
        if self.replicas.len() >= MAX_HEARD && !self.replicas.contains_key(&replica.id) {
            return Err(Overfull("replicas"));
        }
        let announced = Announced { url: replica.url.clone(), until: now.after(terms.replica) };
        self.replicas.insert(replica.id.clone(), announced);
        let all = self.replicas.iter();
        Ok(all.map(|(id, it)| Replica { id: id.clone(), url: it.url.clone() }).collect())
    }

    pub(super) fn withdraw(&mut self, replica: &Replica) {
        // Another url under the same id is its successor, who goes on serving.
        if self.replicas.get(&replica.id).is_some_and(|it| it.url == replica.url) {
            self.replicas.remove(&replica.id);
        }
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.workers.retain(|_, it| now < it.last.after(WORKER_MEMORY));
        self.replicas.retain(|_, it| now < it.until);
    }

    /// The worker's entry, its incarnation noted; `None` fences the report.
    fn hear(
        &mut self,
        report: &WorkerReport,
        now: Timestamp,
    ) -> Result<Option<&mut Heard>, Overfull> {
        if self.workers.len() >= MAX_HEARD && !self.workers.contains_key(&report.worker) {
            return Err(Overfull("workers"));
        }
        let heard = self.workers.entry(report.worker.clone()).or_insert_with(|| Heard {
            incarnation: report.incarnation,
            last: now,
            sighting: None,
            list: None,
        });
        let forgotten = now >= heard.last.after(WORKER_MEMORY);
        if report.incarnation < heard.incarnation && !forgotten {
            return Ok(None);
        }
        heard.incarnation = report.incarnation;
        heard.last = now;
        Ok(Some(heard))
    }
}
