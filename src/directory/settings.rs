//! Which directory a process uses.

use std::sync::Arc;

use super::embedded::Embedded;
use super::redis::{Redis, RedisSettings};
use super::{Directory, Terms};
use crate::clock::Clock;

/// Which directory a process uses.
#[derive(Clone, Debug, Default)]
pub enum DirectoryConfig {
    /// In the memory of this process: one machine, one gateway.
    #[default]
    Embedded,
    /// Redis, shared by all replicas.
    Redis(RedisSettings),
}

/// Opens a directory with the default terms. Redis takes the time from its server, the embedded one from `clock`.
/// Redis may be down: the directory is then away until it is back.
pub async fn open(config: &DirectoryConfig, clock: Clock) -> Arc<dyn Directory> {
    open_with(config, clock, Terms::default()).await
}

/// Opens a directory with other terms.
pub async fn open_with(config: &DirectoryConfig, clock: Clock, terms: Terms) -> Arc<dyn Directory> {
    match config {
        DirectoryConfig::Embedded => Arc::new(Embedded::new(clock, terms)),
        DirectoryConfig::Redis(settings) => Arc::new(Redis::open(settings, clock, terms).await),
    }
}
