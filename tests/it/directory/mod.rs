//! One contract, held by the embedded directory, by Redis and by Redis Cluster; and what only Redis must stand.

/// Writes each check as three tests: `embedded::check`, `redis::check` and `redis_cluster::check`.
macro_rules! contract {
    ($($check:ident)*) => {
        mod embedded {$(
            #[tokio::test]
            async fn $check() {
                super::$check(super::Kind::Embedded).await;
            }
        )*}
        mod redis {$(
            #[tokio::test]
            async fn $check() {
                super::$check(super::Kind::Redis).await;
            }
        )*}
        mod redis_cluster {$(
            #[tokio::test]
            async fn $check() {
                super::$check(super::Kind::Cluster).await;
            }
        )*}
    };
}

mod cluster;
mod doctor;
mod environments;
mod events;
mod fleet;
mod launches;
mod link;
mod lists;
mod model;
mod rates;
mod rebuilt;
mod sentinel;
mod subject;
mod tallies;
mod tls;
