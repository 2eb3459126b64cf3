//! The load generator: a closed loop on every connection, all on one thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::connection::Connection;

/// What is sent where.
#[derive(Clone)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// Every connection picks from these at random.
    pub requests: Arc<Vec<Vec<u8>>>,
    /// The only status that counts as an answer.
    pub status: u16,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Measured {
    /// Of every exchange that was answered, in nanoseconds, ascending.
    pub latencies_ns: Vec<u32>,
    /// From the first request to the last reply.
    pub seconds: f64,
}

impl Measured {
    /// Answers in a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate for a table")]
    pub fn per_second(&self) -> f64 {
        self.latencies_ns.len() as f64 / self.seconds
    }

    /// The latency that this share of the exchanges did not exceed, in milliseconds.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index by a share between 0 and 1"
    )]
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let count = self.latencies_ns.len();
        let at = ((count as f64 * share) as usize).min(count.saturating_sub(1));
        let latency = self.latencies_ns.get(at).copied().unwrap_or(u32::MAX);
        f64::from(latency) / 1e6
    }
}

/// Drives a server from `connections` connections for a while.
///
/// # Errors
/// A connection ends or an answer has another status: nothing about such a run is worth a figure.
pub async fn drive(load: &Load, connections: usize, lasts: Duration) -> anyhow::Result<Measured> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(load.address).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (seed, connection) in (1_u64..).zip(open) {
        tasks.spawn(one(load.clone(), connection, seed, start + lasts));
    }
    let mut latencies_ns = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies_ns.extend(done??);
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies_ns.sort_unstable();
    Ok(Measured {
        latencies_ns,
        seconds,
    })
}

async fn one(
    load: Load,
    mut connection: Connection,
    seed: u64,
    until: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut latencies_ns = Vec::with_capacity(1 << 14);
    let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut sent = Instant::now();
    while sent < until {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let pick = usize::try_from(dice >> 33)? % load.requests.len();
        let status = connection.exchange(&load.requests[pick]).await?;
        let answered = Instant::now();
        ensure!(
            status == load.status,
            "status {status} instead of {}: {}",
            load.status,
            connection.reply()
        );
        let latency = (answered - sent).as_nanos();
        latencies_ns.push(u32::try_from(latency).unwrap_or(u32::MAX));
        sent = answered;
    }
    Ok(latencies_ns)
}

/// Sends every request once; answers the replies in the same order.
///
/// # Errors
/// As [`drive`].
pub async fn once(load: &Load, connections: usize) -> anyhow::Result<Vec<String>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(load.address).await?;
        let (load, next) = (load.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let mut replies = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = load.requests.get(at) else {
                    return anyhow::Ok(replies);
                };
                let status = connection.exchange(request).await?;
                let reply = connection.reply();
                ensure!(status == load.status, "status {status}: {reply}");
                replies.push((at, reply));
            }
        });
    }
    let mut replies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        replies.extend(done??);
    }
    replies.sort_unstable();
    Ok(replies.into_iter().map(|(_, reply)| reply).collect())
}
