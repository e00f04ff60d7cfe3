//! The servers that make one Redis: a master, or the masters of a cluster.

use std::sync::Arc;

use redis::FromRedisValue;
use redis::aio::PubSub;

use super::cluster::{Cluster, Nodes};
use super::dial::{Dialer, RedisSettings};
use super::link::Link;
use super::master::Master;
use super::scripts::Invocation;
use super::step::Step;
use super::trouble::Trouble;
use super::url::{Address, Place, RedisUrl};
use crate::directory::DirectoryError;

/// What operations are sent to.
#[derive(Debug)]
pub(super) enum Servers {
    /// One server that takes writes.
    Master { link: Link, master: Arc<Master> },
    /// Some, each of which takes those to its slots.
    Cluster(Cluster),
}

/// Where messages are heard.
#[derive(Debug)]
pub(super) enum Source {
    Master(Arc<Master>),
    Cluster(Arc<Nodes>),
}

impl Servers {
    /// Links to servers that may be down.
    pub(super) async fn open(settings: &RedisSettings) -> Self {
        match &settings.url.place {
            Place::Cluster(seeds) => Self::Cluster(Cluster::open(settings, seeds).await),
            Place::Master(lead) => {
                let (url, dialer) = (settings.url.clone(), Arc::new(Dialer::new(settings)));
                let master = Arc::new(Master::new(lead.clone(), url, dialer));
                Self::Master { link: Link::open(Arc::clone(&master)).await, master }
            }
        }
    }

    /// Where messages are heard.
    pub(super) fn source(&self) -> Source {
        match self {
            Self::Master { master, .. } => Source::Master(Arc::clone(master)),
            Self::Cluster(cluster) => Source::Cluster(Arc::clone(cluster.nodes())),
        }
    }

    /// Runs a script.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Invocation,
    ) -> Result<T, DirectoryError> {
        self.operate(&script.step()).await
    }

    /// Sends one operation.
    pub(super) async fn operate<T: FromRedisValue>(
        &self,
        step: &Step,
    ) -> Result<T, DirectoryError> {
        let answer = match self {
            Self::Master { link, .. } => link.operate(step).await,
            Self::Cluster(cluster) => cluster.operate(step).await,
        };
        answer.map_err(DirectoryError::from)
    }
}

impl Source {
    /// A connection to hear messages.
    pub(super) async fn listen(&self) -> Result<(Address, PubSub), Trouble> {
        match self {
            Self::Master(master) => master.listen().await,
            Self::Cluster(nodes) => nodes.listen().await,
        }
    }

    /// Whether this server is no longer where messages are heard.
    pub(super) async fn has_left(&self, server: &Address) -> bool {
        match self {
            Self::Master(master) => master.has_left(server).await,
            Self::Cluster(nodes) => nodes.has_left(server),
        }
    }

    /// Where Redis was said to be.
    pub(super) fn url(&self) -> &RedisUrl {
        match self {
            Self::Master(master) => master.url(),
            Self::Cluster(nodes) => nodes.url(),
        }
    }
}
