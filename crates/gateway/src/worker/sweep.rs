//! What is seen to in time: files past their retention, old idempotency keys, old receipts of webhooks,
//! parked tasks that a raised limit has a place for or that are past their deadline.
//!
//! Invariant: every sweep is idempotent and may run on any number of nodes at once.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::media::Media;
use crate::store::files::of_remnant;
use crate::store::uploads::of_upload;
use crate::store::{Store, StoreError};

/// How often it looks, in seconds.
const EVERY_S: u64 = 60;

/// Files removed between two looks at the clock.
const FILES: usize = 200;

/// Files of one sweep that may resist before it takes the object store for away.
const STUCK_MAX: usize = 1_000;

/// Removes what is past its time.
pub struct Sweeper {
    /// What is past its time.
    pub store: Store,
    /// Where the files are.
    pub media: Media,
    /// The time.
    pub clock: Clock,
}

impl Sweeper {
    /// Sweeps once a minute until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.sweep(&stop).await {
                tracing::warn!(%error, "a sweep was cut short");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(EVERY_S)) => {}
            }
        }
    }

    /// Sweeps once; answers how many files were removed.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn sweep(&self, stop: &CancellationToken) -> Result<u64, StoreError> {
        let now_ms = self.clock.now_ms();
        let mut removed = 0_u64;
        let mut stuck = BTreeSet::new();
        while stuck.len() < STUCK_MAX {
            // Those that resist are the oldest and stay so: the next ones are behind them.
            let limit = i64::try_from(stuck.len().saturating_add(FILES)).unwrap_or(i64::MAX);
            let mut paths = self.store.any_expired_files(now_ms, limit).await?;
            paths.retain(|path| !stuck.contains(path));
            if paths.is_empty() {
                break;
            }
            for path in paths {
                if stop.is_cancelled() {
                    return Ok(removed);
                }
                // The object goes first: a crash in between leaves a row that is swept again.
                let done = match (of_remnant(&path), of_upload(&path)) {
                    (Some((task, index)), _) => self.media.remove_remnant(&task, index).await,
                    (None, Some(folder)) => self.media.remove_upload(folder).await,
                    (None, None) => self.media.remove(&path).await,
                };
                match done {
                    Ok(()) => {
                        self.store.any_forget_file(path, now_ms).await?;
                        removed = removed.saturating_add(1);
                    }
                    Err(error) => {
                        tracing::warn!(%error, path, "a file could not be removed");
                        stuck.insert(path);
                    }
                }
            }
        }
        self.store.any_sweep_idempotency(now_ms).await?;
        self.store.any_sweep_receipts(now_ms).await?;
        self.store.any_let_in(now_ms).await?;
        Ok(removed)
    }
}
