//! The worker: claims tasks that are due and moves each by the rules.
//!
//! Invariant: it keeps nothing but leases. Every step is `decide`, act, `advance`, commit; no
//! connection or transaction of the store is held while an upstream is called.

mod admit;
mod converse;
mod inputs;
mod keep;
mod last_look;
mod owners;
mod receipt;
mod send;
mod step;
mod sweep;
mod translate;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dialects::Dialect;
use domain::catalogue::Catalogue;
use domain::task::Phase;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use inputs::Room;
use owners::Owners;
pub use sweep::Sweeper;
pub use translate::{PROMPT_CHARS_MAX, Translation};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::media::Media;
use crate::metrics::Metrics;
use crate::net::Net;
use crate::store::work::{Claim, LEASE_MS};
use crate::store::{Store, StoreError};
use crate::traffic::Traffic;

/// How often leases are renewed, in milliseconds.
const HEARTBEAT_MS: u64 = 5_000;

/// Longest sleep without a look at the store: another node gives no hint.
const IDLE_MS: i64 = 1_000;

/// Shortest sleep: what falls due meanwhile is claimed, moved and committed together. In milliseconds.
const GATHER_MS: i64 = 40;

/// Pause after a claim that the store did not take, in milliseconds.
const UNCLAIMED_MS: u64 = 500;

/// Most tasks claimed at once.
const CLAIM_MAX: usize = 256;

/// How long steps under way may take to finish when the worker stops, in milliseconds.
const DRAIN_MS: u64 = 25_000;

/// How long a task waits after a step of it panicked, in milliseconds.
const PANICKED_MS: i64 = 60_000;

/// What a worker may do.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Most steps at the same time.
    pub concurrency: usize,
    /// Where clients reach the gateway, without a slash at the end: links to files of ours start so.
    pub public_url: String,
}

/// Finds a dialect by the name in a provider file.
pub type Dialects = fn(&str) -> Option<&'static dyn Dialect>;

/// Takes a step to be run beside others.
pub type Spawn = Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>;

/// A worker.
pub struct Worker {
    store: Store,
    catalogue: Arc<Catalogue>,
    net: Net,
    media: Media,
    clock: Clock,
    entropy: Entropy,
    settings: WorkerSettings,
    metrics: Metrics,
    traffic: Traffic,
    owners: Owners,
    /// `None` where nothing is translated.
    translation: Option<Arc<Translation>>,
    /// What tokens of attempts are derived from.
    secret: String,
    dialects: Dialects,
    /// For files on their way to providers.
    room: Room,
    /// Where providers reach us, without a slash at the end; `None` where they cannot.
    webhooks: Option<String>,
    /// Where steps run; `None` for the runtime.
    spawn: Option<Spawn>,
    /// Until when the leases were renewed, Unix milliseconds.
    leased_until_ms: AtomicI64,
    /// When the loop means to look again.
    wake_ms: AtomicI64,
    look_again: Notify,
}

/// What a worker works with.
pub struct WorkerParts {
    /// The tasks.
    pub store: Store,
    /// Models and providers.
    pub catalogue: Arc<Catalogue>,
    /// The way to upstreams.
    pub net: Net,
    /// Where results go.
    pub media: Media,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// The deployment's secret.
    pub secret: String,
    /// What is known of the providers, their credentials among it.
    pub traffic: Traffic,
    /// Limits.
    pub settings: WorkerSettings,
}

impl Worker {
    /// A worker that has claimed nothing yet.
    #[must_use]
    pub fn new(parts: WorkerParts) -> Self {
        Self {
            owners: Owners::new(hex::encode(parts.entropy.bytes::<8>())),
            leased_until_ms: AtomicI64::new(0),
            wake_ms: AtomicI64::new(0),
            look_again: Notify::new(),
            store: parts.store,
            catalogue: parts.catalogue,
            net: parts.net,
            media: parts.media,
            clock: parts.clock,
            entropy: parts.entropy,
            secret: parts.secret,
            traffic: parts.traffic,
            settings: parts.settings,
            metrics: Metrics::default(),
            translation: None,
            dialects: dialects::dialect,
            room: Room::new(),
            webhooks: None,
            spawn: None,
        }
    }

    /// The same, counted where others are.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// The same with prompts translated where that is asked for.
    #[must_use]
    pub fn translating(mut self, translation: Option<Arc<Translation>>) -> Self {
        self.translation = translation;
        self
    }

    /// The same, told of by providers' webhooks below a URL of ours.
    #[must_use]
    pub fn hooked_at(mut self, base: Option<String>) -> Self {
        self.webhooks = base;
        self
    }

    /// The same with other dialects than those that are built in, for tests.
    #[must_use]
    pub fn speaking(mut self, dialects: Dialects) -> Self {
        self.dialects = dialects;
        self
    }

    /// The same with its steps run elsewhere: a simulator stops and drops them with the worker.
    #[must_use]
    pub fn spawning(mut self, spawn: Spawn) -> Self {
        self.spawn = Some(spawn);
        self
    }

    /// Works until `stop`, then finishes the steps under way. What does not finish in time keeps its
    /// lease, so that nobody else takes a call for lost while its reply may still come.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let steps = TaskTracker::new();
        let beating = CancellationToken::new();
        let heartbeat = self.heartbeat(beating.clone());
        let work = async {
            self.claim_until(&steps, &stop).await;
            steps.close();
            let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS), steps.wait()).await;
            beating.cancel();
        };
        tokio::join!(heartbeat, work);
    }

    async fn claim_until(self: &Arc<Self>, steps: &TaskTracker, stop: &CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.settings.concurrency));
        while !stop.is_cancelled() {
            // Looked at before the store, so that nothing recorded meanwhile is slept over.
            self.wake_ms.store(i64::MAX, Ordering::Release);
            if self.traffic.has_waiting() {
                self.count_open().await;
            }
            let free = slots.available_permits().min(CLAIM_MAX);
            let claimed = self.claim(free).await;
            let is_more = claimed.len() == free && free > 0;
            for claim in claimed {
                if stop.is_cancelled() {
                    self.put_back(&claim, self.clock.now_ms()).await;
                    self.owners.finished(&claim.owner);
                    continue;
                }
                let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                    break;
                };
                let worker = Arc::clone(self);
                let owner = claim.owner.clone();
                let counted = self.metrics.step();
                let step = async move {
                    let _counted = counted;
                    let due_ms = worker.work_guarded(claim).await;
                    worker.owners.finished(&owner);
                    drop(slot);
                    if due_ms <= worker.wake_ms.load(Ordering::Acquire) {
                        worker.look_again.notify_one();
                    }
                };
                match &self.spawn {
                    None => drop(steps.spawn(step)),
                    Some(spawn) => spawn(Box::pin(steps.track_future(step))),
                }
            }
            if !is_more {
                self.sleep(free > 0, stop).await;
            }
        }
    }

    /// A step that panics is a mistake of ours: the task goes back and is tried again later.
    async fn work_guarded(&self, claim: Claim) -> i64 {
        let kept = claim.clone();
        let step = std::panic::AssertUnwindSafe(self.work_on(claim));
        if let Ok(due_ms) = step.catch_unwind().await {
            return due_ms;
        }
        tracing::error!(task = %kept.task.id, "a step panicked");
        let again_ms = self.clock.now_ms().saturating_add(PANICKED_MS);
        self.put_back(&kept, again_ms).await
    }

    /// Until when the leases of this worker last at least, Unix milliseconds.
    fn leased_until_ms(&self) -> i64 {
        self.leased_until_ms.load(Ordering::Acquire)
    }

    async fn claim(&self, limit: usize) -> Vec<Claim> {
        if limit == 0 {
            return Vec::new();
        }
        let now_ms = self.clock.now_ms();
        if now_ms >= self.leased_until_ms() && !self.owners.all().is_empty() {
            // Leases may have run out while the store was slow: not to be taken from ourselves. What is
            // due would end the sleep at once until the heartbeat has renewed them.
            tokio::time::sleep(Duration::from_millis(UNCLAIMED_MS)).await;
            return Vec::new();
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let owner = self.owners.current();
        match self.store.claim(&owner, limit, now_ms).await {
            Ok(claims) => {
                if !claims.is_empty() {
                    self.owners.began(&owner, claims.len());
                    self.owners.next();
                    self.count_lags(&claims);
                    self.lengthen(&owner, now_ms).await;
                    let until_ms = now_ms.saturating_add(LEASE_MS);
                    // The shortest lease of all counts; renewing lengthens them together.
                    let _ = self.leased_until_ms.fetch_update(
                        Ordering::AcqRel,
                        Ordering::Acquire,
                        |known| (known < now_ms).then_some(until_ms),
                    );
                }
                claims
            }
            Err(error) => {
                tracing::warn!(%error, "nothing could be claimed");
                // Should it have been recorded after all, those leases run out: nobody renews them.
                self.owners.next();
                // What is due can often still be read, so that the sleep would end at once.
                tokio::time::sleep(Duration::from_millis(UNCLAIMED_MS)).await;
                Vec::new()
            }
        }
    }

    /// Leases end by the clocks of others: those of a node that was frozen, and is behind, would
    /// end as soon as they begin.
    async fn lengthen(&self, owner: &str, now_ms: i64) {
        let behind_ms = self.clock.behind_ms();
        if behind_ms > 0
            && let Err(error) = self
                .store
                .renew(owner, now_ms.saturating_add(behind_ms))
                .await
        {
            tracing::warn!(%error, "leases could not be lengthened");
        }
    }

    /// How late tasks under way are looked at; what queued ones wait for is room.
    fn count_lags(&self, claims: &[Claim]) {
        let now_ms = self.clock.now_ms();
        let tasks = claims.iter().map(|claim| &claim.task);
        for task in tasks.filter(|task| !matches!(task.phase, Phase::Queued { .. })) {
            self.metrics.poll_lag_ms(now_ms.saturating_sub(task.due_ms));
        }
    }

    /// Until the next task is due, something is recorded, or a step ends that changes either.
    async fn sleep(&self, has_room: bool, stop: &CancellationToken) {
        let now_ms = self.clock.now_ms();
        let mut until_ms = now_ms.saturating_add(IDLE_MS);
        if has_room && let Ok(Some(due_ms)) = self.store.any_next_due_ms(now_ms).await {
            until_ms = until_ms.min(due_ms);
        }
        // Without room the end of any step is worth a look.
        let wake_ms = if has_room { until_ms } else { i64::MAX };
        self.wake_ms.store(wake_ms, Ordering::Release);
        let ms = until_ms.saturating_sub(now_ms).max(GATHER_MS);
        let pause = Duration::from_millis(u64::try_from(ms).unwrap_or(1));
        // In a fixed order here and below, so that a simulation repeats itself.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.store.work_hinted() => {}
            () = self.look_again.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    async fn heartbeat(&self, stop: CancellationToken) {
        let mut pause_ms = HEARTBEAT_MS;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            }
            let now_ms = self.clock.now_ms();
            match self.renew(now_ms).await {
                Ok(()) => {
                    let until_ms = now_ms.saturating_add(LEASE_MS);
                    self.leased_until_ms.store(until_ms, Ordering::Release);
                }
                Err(error) => tracing::warn!(%error, "leases could not be renewed"),
            }
            // A store that took its time has used up a part of what it renewed.
            let took_ms = self.clock.now_ms().saturating_sub(now_ms);
            pause_ms = HEARTBEAT_MS
                .saturating_sub(u64::try_from(took_ms).unwrap_or(0))
                .max(1);
        }
    }

    async fn renew(&self, now_ms: i64) -> Result<(), StoreError> {
        let owners = self.owners.all();
        let from_ms = now_ms.saturating_add(self.clock.behind_ms());
        let renewals = owners.iter().map(|owner| self.store.renew(owner, from_ms));
        try_join_all(renewals).await.map(drop)
    }
}
