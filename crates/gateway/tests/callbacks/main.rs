//! The dispatcher of callbacks against real receivers, on both databases.
//!
//! SQLite always; PostgreSQL when TEST_DATABASE_URL names a server on which databases may be made.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod deliveries;
mod failures;
mod fairness;
mod lifecycle;
mod receiver;
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
                match $crate::world::World::postgres().await {
                    Some((world, database)) => {
                        super::$name(world).await;
                        database.drop().await;
                    }
                    None => println!("skipped: TEST_DATABASE_URL is not set"),
                }
            }
        }
    )*};
}
