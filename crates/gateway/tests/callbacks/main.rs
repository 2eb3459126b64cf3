//! The dispatcher of callbacks against real receivers, on both databases.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod deliveries;
mod failures;
mod fairness;
mod lifecycle;
mod receiver;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "one support for several test binaries")]
mod support;
mod world;

/// Runs a scenario on each database as a test of its own.
#[macro_export]
macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name($crate::world::World::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name($crate::world::World::postgres().await).await;
            }
        }
    )*};
}
