//! What the contract is checked on.
#![expect(clippy::unwrap_used, reason = "a directory that is away fails the test")]

use std::sync::Arc;
use std::time::Duration;

use baton::clock::Clock;
use baton::directory::redis::RedisUrl;
use baton::directory::{
    Beat, Directory, DirectoryConfig, Placed, Reservation, Tally, Terms, open_with,
};
use baton::domain::ids::{
    EnvironmentId, Incarnation, OwnerDigest, TallyId, TenantDigest, Timestamp, WorkerId,
};
use baton::domain::placement::{Epoch, Holding, Placement, WorkerReport, WorkerState, list_digest};

use crate::redis_cluster::RedisCluster;
use crate::redis_server::RedisServer;

pub(super) const LIMIT: u32 = 3;
/// For checks that wait: long enough for a busy machine not to use it up between two steps.
pub(super) const SHORT: Duration = Duration::from_millis(800);
pub(super) const LONG: Duration = Duration::from_hours(1);

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Embedded,
    /// As a user with the rights that `infra/redis` gives, and no others.
    Redis,
    /// Likewise, of three masters.
    Cluster,
}

pub(super) struct Subject {
    pub(super) directory: Arc<dyn Directory>,
    clock: Clock,
    kind: Kind,
    _servers: Vec<RedisServer>,
}

impl Kind {
    pub(super) async fn open(self) -> Subject {
        self.open_with(Terms::default()).await
    }

    pub(super) async fn open_with(self, terms: Terms) -> Subject {
        let clock = match self {
            Self::Embedded => Clock::manual(Clock::system().now()),
            Self::Redis | Self::Cluster => Clock::system(),
        };
        self.open_by(clock, terms).await
    }

    /// One whose own clock is this one.
    pub(super) async fn open_by(self, clock: Clock, terms: Terms) -> Subject {
        let (url, servers) = match self {
            Self::Embedded => (None, Vec::new()),
            Self::Redis => {
                let server = RedisServer::start();
                admit_baton(&server);
                let url = format!("redis://{BATON}{}", server.address());
                (Some(url), vec![server])
            }
            Self::Cluster => {
                let cluster = RedisCluster::start();
                cluster.nodes().for_each(admit_baton);
                (Some(cluster.url(BATON)), cluster.masters)
            }
        };
        let config = url.map_or(DirectoryConfig::Embedded, |url| {
            DirectoryConfig::Redis(RedisUrl::parse(&url).unwrap().into())
        });
        let directory = open_with(&config, clock.clone(), terms).await;
        // No worker lives yet, so nothing is missing.
        directory.complete(&[]).await.unwrap();
        Subject { directory, clock, kind: self, _servers: servers }
    }
}

impl Subject {
    /// Lets time go by: by hand where the clock is ours.
    pub(super) async fn pass(&self, time: Duration) {
        match self.kind {
            Kind::Embedded => self.clock.advance(time),
            Kind::Redis | Kind::Cluster => tokio::time::sleep(time).await,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) async fn reserve(&self, id: u8) -> Reservation {
        self.directory.reserve(tenant(0), environment(id), LIMIT).await.unwrap()
    }

    pub(super) async fn place(&self, id: u8, worker: &str, epoch: u64) -> Placed {
        self.directory.place(&self.holding(id, worker, epoch)).await.unwrap()
    }

    pub(super) async fn release(&self, id: u8) {
        self.directory.release(tenant(0), environment(id)).await.unwrap();
    }

    pub(super) async fn located(&self, id: u8) -> Option<String> {
        let placement = self.directory.locate(tenant(0), environment(id)).await.unwrap();
        placement.map(|it| format!("{}@{}", it.worker, it.epoch.0))
    }

    pub(super) async fn reconcile(&self, worker: &str, holdings: &[Holding]) {
        self.directory.reconcile(&report(worker, 1, holdings), holdings).await.unwrap();
    }

    pub(super) async fn beat(&self, worker: &str, incarnation: u64, holdings: &[Holding]) -> Beat {
        self.directory.beat(&report(worker, incarnation, holdings)).await.unwrap()
    }

    pub(super) async fn add(&self, operation: &str, amount: i64) -> Tally {
        self.directory.add_to_tally(tally(0), operation, amount, LONG).await.unwrap()
    }

    pub(super) fn holding(&self, id: u8, worker: &str, epoch: u64) -> Holding {
        holding(id, worker, epoch, self.now().after(LONG))
    }
}

/// Who a restricted user is, in an address.
pub(super) const BATON: &str = "baton:secret@";

/// Gives a server the user that `infra/redis/redis.conf` has, with a password of ours.
pub(super) fn admit_baton(server: &RedisServer) {
    let conf = include_str!("../../../infra/redis/redis.conf");
    let rights = conf.lines().find_map(|it| it.strip_prefix("user baton on nopass ")).unwrap();
    let said = server.say(&format!("ACL SETUSER baton on >secret {rights}"));
    assert!(said.starts_with("+OK"), "{said}");
}

pub(super) fn environment(id: u8) -> EnvironmentId {
    EnvironmentId::from_bytes([id; 16])
}

pub(super) fn tenant(id: u8) -> TenantDigest {
    TenantDigest::from_bytes([id; 16])
}

pub(super) fn tally(id: u8) -> TallyId {
    TallyId::from_bytes([id; 16])
}

/// An environment of tenant 0.
pub(super) fn holding(id: u8, worker: &str, epoch: u64, not_after: Timestamp) -> Holding {
    Holding {
        environment: environment(id),
        tenant: tenant(0),
        owner: OwnerDigest::from_bytes([id; 16]),
        placement: Placement { worker: WorkerId::parse(worker).unwrap(), epoch: Epoch(epoch) },
        not_after,
    }
}

/// The report of a worker that has this list.
pub(super) fn report(worker: &str, incarnation: u64, holdings: &[Holding]) -> WorkerReport {
    WorkerReport {
        worker: WorkerId::parse(worker).unwrap(),
        incarnation: Incarnation(incarnation),
        url: format!("http://{worker}"),
        state: WorkerState::Serving,
        capacity: 10,
        environments: u32::try_from(holdings.len()).unwrap(),
        running: 0,
        list_digest: list_digest(holdings.iter().map(|it| (it.environment, it.placement.epoch))),
    }
}
