//! Giving a claimed task back unchanged.

use super::committer::{Operation, Tx};
use super::db::DbError;
use super::work::Claim;
use super::{Store, StoreError};
use crate::values;

// The epoch names the claim; its version may have moved on in steps that were recorded.
const PUT_BACK: &str = "UPDATE tasks SET due_ms = $1, lease_owner = '', lease_until_ms = 0
    WHERE id = $2 AND lease_owner = $3 AND epoch = $4 AND lane > 0";

impl Store {
    /// Gives a claimed task back as it is, to be looked at again at `due_ms`. A claim that was lost
    /// changes nothing.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn put_back(&self, claim: &Claim, due_ms: i64) -> Result<(), StoreError> {
        self.write(PutBack {
            id: claim.task.id.to_string(),
            owner: claim.owner.clone(),
            epoch: claim.epoch,
            due_ms,
        })
        .await
    }
}

struct PutBack {
    id: String,
    owner: String,
    epoch: i64,
    due_ms: i64,
}

impl Operation for PutBack {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let values = values![self.due_ms, &self.id, &self.owner, self.epoch];
        db.execute(PUT_BACK, values).await.map(drop)
    }
}
