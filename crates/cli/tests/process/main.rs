//! The real program, killed and restarted.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod drain;
mod kill;
mod server;
