//! One contract, held by the embedded directory and by Redis; and what only Redis must stand.

/// Writes each check as two tests: `embedded::check` and `redis::check`.
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
    };
}

mod environments;
mod events;
mod fleet;
mod link;
mod lists;
mod model;
mod rates;
mod sentinel;
mod subject;
mod tallies;
mod tls;
