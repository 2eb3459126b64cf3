//! The real program, killed and restarted.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

#[path = "../../../gateway/tests/support/cluster.rs"]
mod cluster;
mod drain;
mod failures;
mod kill;
mod pressure;
mod roles;
mod server;
mod settlement;
mod upstream;
