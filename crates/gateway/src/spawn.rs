//! Starting tasks of the runtime.
//!
//! Invariant: the only module that calls `tokio::spawn`. Work that must be finished or handed back
//! before the process ends goes to a [`TaskTracker`](tokio_util::task::TaskTracker) of `app`.

use std::future::Future;

/// Starts something that ends by itself when what it serves is dropped, such as the driver of a
/// connection.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place the ban points to"
)]
pub fn detached(name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        work.await;
        tracing::trace!(name, "ended");
    });
}
