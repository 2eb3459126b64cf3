//! The dispatcher's loop: look, claim, start, wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Callbacks;
use super::slots::{Health, Slots};
use super::walk::{PAGE, Rests, Walk};
use crate::store::StoreError;
use crate::store::lanes::Lane;
use crate::store::notices::Notice;

/// Pause before the lanes of an account are looked at that a round has left, in milliseconds.
const REST_MS: u64 = 100;

pub(super) struct Dispatch {
    callbacks: Arc<Callbacks>,
    stop: CancellationToken,
    slots: Slots,
    running: JoinSet<Health>,
    /// What each of the running is about.
    held: HashMap<Id, Notice>,
    /// Name of the lane that got the last slot there was: those behind it come first next time.
    cursor: String,
    /// Lanes that the last round has left.
    rests: Rests,
}

impl Dispatch {
    pub(super) fn new(callbacks: Arc<Callbacks>, stop: CancellationToken) -> Self {
        Self {
            slots: Slots::new(callbacks.settings),
            callbacks,
            stop,
            running: JoinSet::new(),
            held: HashMap::new(),
            cursor: String::new(),
            rests: Rests::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let callbacks = Arc::clone(&self.callbacks);
        let store = &callbacks.store;
        if !store.is_shared()
            && let Err(error) = store.any_unclaim_all_notices().await
        {
            tracing::warn!(%error, "callbacks of the last run wait for their leases to end");
        }
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let wait = self.round().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "callbacks cannot be looked up");
                callbacks.settings.poll_ms
            });
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = self.running.join_next_with_id() => self.settle(ended),
                () = store.notice_hinted() => {}
                () = tokio::time::sleep(Duration::from_millis(wait)) => {}
            }
            while let Some(ended) = self.running.try_join_next_with_id() {
                self.settle(ended);
            }
        }
        self.drain().await;
    }

    /// Starts what is due and may start; answers how long there is nothing to do, in milliseconds.
    async fn round(&mut self) -> Result<u64, StoreError> {
        let now_ms = self.callbacks.clock.now_ms();
        let mut next_ms = i64::MAX;
        let cursor = std::mem::take(&mut self.cursor);
        let mut walk = Walk::new(cursor, std::mem::take(&mut self.rests));
        let mut is_complete = false;
        while self.slots.free() > 0 && !is_complete {
            let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
            let store = &self.callbacks.store;
            let page = store.any_lanes(walk.after(), limit, now_ms).await?;
            let (count, goes_on) = walk.turn(&page);
            let page = page.get(..count).unwrap_or_default();
            let later = page.iter().filter_map(|lane| lane.due_ms);
            let later = later.filter(|due_ms| *due_ms > now_ms).min();
            next_ms = next_ms.min(later.unwrap_or(i64::MAX));
            self.start(page, now_ms).await?;
            is_complete = !goes_on;
        }
        self.rests = walk.end(is_complete);
        let wait_ms = u64::try_from(next_ms.saturating_sub(now_ms)).unwrap_or(0);
        let longest_ms = self.callbacks.settings.poll_ms;
        Ok(wait_ms.min(match self.rests.is_empty() {
            true => longest_ms,
            false => longest_ms.min(REST_MS),
        }))
    }

    async fn start(&mut self, page: &[Lane], now_ms: i64) -> Result<(), StoreError> {
        let picks = self.slots.pick(page, now_ms);
        if picks.is_empty() {
            return Ok(());
        }
        self.claim(&picks, now_ms).await?;
        if self.slots.free() == 0 {
            self.cursor = picks
                .last()
                .map(|(lane, _)| lane.name())
                .unwrap_or_default();
        }
        Ok(())
    }

    /// Claims from the picked lanes, starts what came and gives the other slots back.
    async fn claim(&mut self, picks: &[(Lane, i64)], now_ms: i64) -> Result<(), StoreError> {
        let claimed = self.callbacks.store.any_claim_lanes(picks, now_ms).await;
        let notices = claimed.as_deref().unwrap_or_default();
        for (lane, wanted) in picks {
            let is_its =
                |notice: &&Notice| notice.account == lane.account && notice.host == lane.host;
            let came = notices.iter().filter(is_its).count() as i64;
            for _ in came..*wanted {
                let slots = &mut self.slots;
                slots.give_back(&lane.account, &lane.host, Health::Untold, now_ms);
            }
        }
        for notice in claimed? {
            let callbacks = Arc::clone(&self.callbacks);
            let deliver = callbacks.deliver(notice.clone(), self.stop.clone());
            let handle = self.running.spawn(deliver);
            self.held.insert(handle.id(), notice);
        }
        Ok(())
    }

    fn settle(&mut self, ended: Result<(Id, Health), JoinError>) {
        let (id, health) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "a callback's delivery broke off");
            (error.id(), Health::Untold)
        });
        if let Some(held) = self.held.remove(&id) {
            let now_ms = self.callbacks.clock.now_ms();
            let slots = &mut self.slots;
            slots.give_back(&held.account, &held.host, health, now_ms);
        }
    }

    async fn drain(mut self) {
        let limit = Duration::from_millis(self.callbacks.settings.drain_ms);
        let all = async {
            while let Some(ended) = self.running.join_next_with_id().await {
                if let Ok((id, _)) = ended {
                    self.held.remove(&id);
                }
            }
        };
        if timeout(limit, all).await.is_err() {
            self.running.shutdown().await;
        }
        // Left are those that were broken off: the next run sends them again.
        for held in self.held.values() {
            let given_back = self.callbacks.store.any_unclaim_notice(held).await;
            if let Err(error) = given_back {
                tracing::warn!(%error, "a callback waits for its lease to end");
            }
        }
    }
}
