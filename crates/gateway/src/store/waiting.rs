//! Tasks that wait for a slot at a provider: how many it works on, and who may come now.

use std::collections::BTreeMap;

use domain::ids::TaskId;
use futures_util::future::try_join_all;

use super::committer::{Operation, Tx};
use super::db::DbError;
use super::{Store, StoreError};
use crate::values;

const OPEN: &str = "SELECT provider, CAST(COUNT(*) AS BIGINT) FROM attempts WHERE is_open = 1
    GROUP BY provider";

// A task that somebody holds, or that is no longer queued, needs no call.
const CALL_IN: &str = "UPDATE tasks SET due_ms = $1
    WHERE id = $2 AND +lane = 1 AND due_ms > $1 AND lease_until_ms <= $1";

impl Store {
    /// How many attempts may still be at work, by provider.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_open_attempts(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let reader = self.reader().await?;
        let rows = reader.session().rows(OPEN, &[]).await?;
        let counts = rows.into_iter().map(|row| {
            let count = u64::try_from(row.int(1)?).unwrap_or(0);
            Ok((row.text(0)?, count))
        });
        counts.collect()
    }

    /// Makes queued tasks due now. Answers how many of them were waiting.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_call_in(&self, tasks: Vec<TaskId>, now_ms: i64) -> Result<u64, StoreError> {
        let calls = tasks.into_iter();
        let calls = calls.map(|task| self.write(CallIn { task, now_ms }));
        let called = try_join_all(calls).await?;
        self.hint_work();
        Ok(called.into_iter().fold(0, u64::saturating_add))
    }
}

struct CallIn {
    task: TaskId,
    now_ms: i64,
}

impl Operation for CallIn {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        db.execute(CALL_IN, values![self.now_ms, self.task.as_str()])
            .await
    }
}
