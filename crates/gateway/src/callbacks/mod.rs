//! Callbacks: every ended task that asked for it is told to its receiver, at least once.
//!
//! Invariant: a notice is POSTed only by whoever holds its lease, and what a POST led to is recorded
//! before the lease ends. A crash after the receiver's 2xx makes a duplicate with the same
//! `webhook-id`; nothing makes a loss.

mod delivery;
mod dispatch;
mod example;
pub mod schedule;
mod slots;
mod walk;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::store::Store;

pub use example::{TestError, TestReport};

/// The pace of the dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The time for a whole POST, name and connection included, in milliseconds. It has to be well
    /// below a lease.
    pub timeout_ms: u64,
    /// Most POSTs at a time.
    pub in_flight_max: usize,
    /// Most POSTs to one host at a time.
    pub per_host_max: usize,
    /// Failures of a host in a row that open its breaker.
    pub failures_max: u32,
    /// How long an open breaker waits for its next probe, in milliseconds.
    pub probe_ms: i64,
    /// How long a callback of another node, or one that became due, may go unseen, in milliseconds.
    pub poll_ms: u64,
    /// How long running POSTs are waited for when the process ends, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_ms: 15_000,
            in_flight_max: 64,
            per_host_max: 4,
            failures_max: 10,
            probe_ms: 60_000,
            poll_ms: 1_000,
            drain_ms: 15_000,
        }
    }
}

/// The dispatcher of callbacks.
#[derive(Clone)]
pub struct Callbacks {
    store: Store,
    net: Net,
    clock: Clock,
    entropy: Entropy,
    public_url: String,
    settings: Settings,
    metrics: Metrics,
}

impl Callbacks {
    /// A dispatcher. `public_url` is where the gateway is reached, without a slash at the end.
    #[must_use]
    pub fn new(store: Store, net: Net, clock: Clock, entropy: Entropy, public_url: String) -> Self {
        Self {
            store,
            net,
            clock,
            entropy,
            public_url,
            settings: Settings::default(),
            metrics: Metrics::default(),
        }
    }

    /// The same with another pace.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The same, counted where others are.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Delivers what is due until it is stopped. Then it starts nothing more, waits for the POSTs
    /// that are under way, and gives back what it holds.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        dispatch::Dispatch::new(self, stop).run().await;
    }
}
