//! Which way a queued task goes, and when: as the providers are known to fare.

use domain::ids::TaskId;
use domain::task::Task;
use domain::upstream::{Fault, FaultClass};

use super::Worker;
use crate::traffic::{Pass, Verdict};

/// Spread of the moments at which tasks that wait for the same ask again, in milliseconds.
const SPREAD_MS: u32 = 1_000;

impl Worker {
    /// Lets a task go over its routes from one on.
    ///
    /// # Errors
    /// When it is to ask again, Unix milliseconds; `i64::MAX` when no provider can be asked at all.
    pub(super) async fn admit(&self, task: &Task, route: usize) -> Result<Pass, i64> {
        self.count_open().await;
        let draw = |below| self.entropy.below(below);
        let admitted = self.traffic.admit(task, route, &draw, self.clock.now_ms());
        admitted.map_err(|until_ms| match until_ms {
            i64::MAX => i64::MAX,
            until_ms => {
                let spread_ms = i64::from(self.entropy.below(SPREAD_MS));
                // No later than it has to end.
                until_ms.saturating_add(spread_ms).min(task.deadline_ms)
            }
        })
    }

    /// Learns from a call for a task's attempt.
    pub(super) fn learn(&self, task: &Task, verdict: &Verdict) {
        if let (Some(attempt), Some(route)) = (task.phase.attempt(), task.route()) {
            let (provider, model) = (&route.provider, &task.order.model);
            let now_ms = self.clock.now_ms();
            self.traffic
                .learn(provider, &attempt.credential, model, verdict, now_ms);
        }
    }

    /// Asks the store now and then how many attempts are open: other nodes have some as well.
    pub(super) async fn count_open(&self) {
        let now_ms = self.clock.now_ms();
        if !self.traffic.wants_count(now_ms) {
            return;
        }
        match self.store.any_open_attempts().await {
            Ok(open) => self.call_in(self.traffic.counted(&open, now_ms)).await,
            Err(error) => tracing::debug!(%error, "open attempts could not be counted"),
        }
    }

    /// An attempt at a provider ended: another task may come.
    pub(super) async fn leave(&self, provider: &str) {
        self.call_in(self.traffic.ended(provider, self.clock.now_ms()))
            .await;
    }

    /// Lets tasks that wait for a slot come now. They would come by themselves, later.
    async fn call_in(&self, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        if let Err(error) = self.store.any_call_in(tasks, self.clock.now_ms()).await {
            tracing::debug!(%error, "waiting tasks could not be called");
        }
    }
}

/// What a fault of a call says about the provider and the credential.
pub(super) fn verdict(fault: &Fault) -> Verdict {
    let reason = fault.detail.clone();
    match fault.class {
        FaultClass::Throttled => Verdict::Throttled {
            for_ms: fault.retry_after_ms.and_then(|ms| i64::try_from(ms).ok()),
            reason,
        },
        FaultClass::Credential => Verdict::Rejected { reason },
        FaultClass::Unavailable | FaultClass::Ambiguous => Verdict::Faulty,
        FaultClass::InvalidInput
        | FaultClass::Moderated
        | FaultClass::NotFound
        | FaultClass::Failed => Verdict::Served,
    }
}
