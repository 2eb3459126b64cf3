//! Receipts: work whose acceptance was lost, and which a webhook of the provider has named since.
//!
//! Invariant: a receipt is a place to ask. How the work stands, the provider is asked as for any other.

use domain::task::{Outcome, Phase, Task};

use super::Worker;
use crate::store::StoreError;

impl Worker {
    /// Goes on with work that a webhook named; nothing where none did, or where the answer is known.
    pub(super) async fn adopted(&self, task: &Task) -> Result<Option<Outcome>, StoreError> {
        let Phase::Unknown { attempt, .. } = &task.phase else {
            return Ok(None);
        };
        let Some(work) = self.store.any_receipt(&attempt.id).await? else {
            return Ok(None);
        };
        let adopted = self.upstream(task).ok().and_then(|upstream| {
            let cx = upstream.context(&attempt.token);
            upstream.dialect.adopt(&task.order, &cx, &work)
        });
        if adopted.is_none() {
            // Found again and again, it would keep the task from ending.
            self.store.any_forget_receipt(&attempt.id).await?;
        }
        Ok(adopted.map(Outcome::Waiting))
    }

    /// A webhook may come before the answer that never came: a task that was just let go is due again
    /// if there is a receipt for it.
    pub(super) async fn heed_receipt(&self, task: &Task) {
        let Phase::Unknown { attempt, .. } = &task.phase else {
            return;
        };
        let heeded = async {
            if self.store.any_receipt(&attempt.id).await?.is_some() {
                let now_ms = self.clock.now_ms();
                self.store.any_nudge_unknown(&task.id, now_ms).await?;
            }
            Ok::<(), StoreError>(())
        };
        if let Err(error) = heeded.await {
            tracing::debug!(task = %task.id, %error, "a receipt waits until the task is due");
        }
    }

    /// What the receipt names is another task's work.
    pub(super) async fn forget_receipt(&self, task: &Task) {
        if let Some(attempt) = task.phase.attempt()
            && let Err(error) = self.store.any_forget_receipt(&attempt.id).await
        {
            tracing::warn!(task = %task.id, %error, "a receipt could not be forgotten");
        }
    }
}
