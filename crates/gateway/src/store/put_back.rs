//! Giving a claimed task back unchanged.

use super::committer::{Operation, Tx};
use super::db::DbError;
use super::work::Claim;
use super::{Store, StoreError};
use crate::values;

// The epoch names the claim; its version may have moved on in steps that were recorded. A client's wish
// to cancel that came in since the claim makes the task due at once, as in a commit.
const PUT_BACK: &str = "UPDATE tasks SET
        due_ms = CASE WHEN is_cancel_asked = 1 AND CAST($1 AS BIGINT) = 0
            AND phase IN ('queued', 'running') THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END,
        lease_owner = '', lease_until_ms = 0
    WHERE id = $4 AND lease_owner = $5 AND epoch = $6 AND lane > 0";

impl Store {
    /// Gives a claimed task back as it is, to be looked at again at `due_ms`; at once if its client
    /// has asked meanwhile that it be cancelled. A claim that was lost changes nothing.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn put_back(
        &self,
        claim: &Claim,
        due_ms: i64,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(PutBack {
            id: claim.task.id.to_string(),
            owner: claim.owner.clone(),
            epoch: claim.epoch,
            knew_of_cancel: claim.task.is_cancel_asked,
            due_ms,
            now_ms,
        })
        .await
    }
}

struct PutBack {
    id: String,
    owner: String,
    epoch: i64,
    knew_of_cancel: bool,
    due_ms: i64,
    now_ms: i64,
}

impl Operation for PutBack {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let values = values![
            i64::from(self.knew_of_cancel),
            self.now_ms,
            self.due_ms,
            &self.id,
            &self.owner,
            self.epoch
        ];
        db.execute(PUT_BACK, values).await.map(drop)
    }
}
