//! Submit: the one admission operation.

use std::sync::Arc;

use domain::ids::{AccountId, KeyId};
use domain::limits::{Allowance, Exceeded};
use domain::task::Task;
use futures_util::future::try_join;

use super::committer::{Operation, Tx};
use super::db::{DbError, Session};
use super::intake::Record;
use super::keyring::{Presumed, Seen};
use super::meters::{Counted, Toll};
use super::{Store, StoreError, json};
use crate::values;

/// A client's wish that the same request counts once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// Hash of what was asked.
    pub fingerprint: String,
    /// What a repetition is answered.
    pub reply: String,
}

/// What came of a submit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Recorded; what is left of each limit of the key.
    Accepted(Vec<Allowance>),
    /// The same request was recorded before; its first reply.
    Replayed(String),
    /// The idempotency key was used for another request.
    Reused,
    /// The available credits do not cover it.
    Insufficient,
    /// A limit of the key refuses it.
    Exceeded(Exceeded),
    /// The key is deleted or expired.
    KeyDead,
    /// The key is not what it was presumed to be, or got or lost its limit of credits since the task was
    /// made: its hold is to count the other way.
    KeyChanged,
}

impl Store {
    /// What a repetition of a recorded request is answered: `Replayed` or `Reused`; nothing for a
    /// request that is the first with its idempotency key.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn first_reply(
        &self,
        account: &AccountId,
        wish: &Idempotency,
    ) -> Result<Option<Admission>, StoreError> {
        let reader = self.reader().await?;
        Ok(first(reader.session(), account, wish).await?)
    }

    /// Records a task with its hold, or refuses it; one transaction.
    ///
    /// # Errors
    /// The store is unavailable or has too much waiting; nothing is recorded.
    pub async fn submit(
        &self,
        task: &Task,
        idempotency: Option<Idempotency>,
    ) -> Result<Admission, StoreError> {
        self.record(task, idempotency, None).await
    }

    /// The same for a key that was read before: `KeyChanged` where it is another now.
    ///
    /// # Errors
    /// The store is unavailable or has too much waiting; nothing is recorded.
    pub async fn submit_presumed(
        &self,
        task: &Task,
        presumed: &Presumed,
    ) -> Result<Admission, StoreError> {
        let seen = Arc::clone(&presumed.seen);
        let admission = self.record(task, None, Some(seen)).await?;
        if matches!(admission, Admission::KeyChanged | Admission::KeyDead) {
            self.keyring.forget(&task.key);
        }
        Ok(admission)
    }

    async fn record(
        &self,
        task: &Task,
        idempotency: Option<Idempotency>,
        presumed: Option<Arc<Seen>>,
    ) -> Result<Admission, StoreError> {
        let mark = idempotency
            .as_ref()
            .map(|wish| format!("{}/{}", task.account, wish.key));
        let record = Record {
            id: task.id.clone(),
            hold_id: format!("hold:{}", task.id),
            account: task.account.clone(),
            model: task.order.model.clone(),
            hold: task.hold,
            now_ms: task.created_ms,
            deadline_ms: task.deadline_ms,
            body: json(task)?,
            idempotency,
        };
        let record = Arc::new(record);
        let submit = Submit {
            // Kept here as well: freeing it is work, and the committer has the most to do.
            record: Arc::clone(&record),
            key: task.key.clone(),
            is_metered: task.is_metered,
            mark,
            presumed,
        };
        let admission = self.admit(submit).await?;
        if matches!(admission, Admission::Accepted(_)) {
            self.hint_work();
        }
        Ok(admission)
    }
}

struct Submit {
    record: Arc<Record>,
    key: KeyId,
    is_metered: bool,
    mark: Option<String>,
    /// The key that it was judged by, if that was not read for it.
    presumed: Option<Arc<Seen>>,
}

const FIRST: &str = "SELECT fingerprint, reply FROM idempotency WHERE account = $1 AND key = $2";

const IS_THERE: &str = "SELECT 1 FROM tasks WHERE id = $1";

async fn first(
    db: Session<'_>,
    account: &AccountId,
    wish: &Idempotency,
) -> Result<Option<Admission>, DbError> {
    let values = values![account.as_str(), &wish.key];
    let Some(row) = db.row(FIRST, values).await? else {
        return Ok(None);
    };
    let is_same = row.text(0)? == wish.fingerprint;
    Ok(Some(if is_same {
        Admission::Replayed(row.text(1)?)
    } else {
        Admission::Reused
    }))
}

impl Submit {
    /// What was recorded for this request before.
    async fn before(&self, tx: Tx<'_>) -> Result<Option<Admission>, DbError> {
        let Some(wish) = &self.record.idempotency else {
            return Ok(None);
        };
        let Some(first) = first(tx.db, &self.record.account, wish).await? else {
            return Ok(None);
        };
        let is_alive = tx
            .meters
            .is_alive(tx.db, &self.key, self.record.now_ms)
            .await?;
        Ok(Some(if is_alive { first } else { Admission::KeyDead }))
    }

    /// Counts the request with its key; what is left of the key's limits, or the refusal.
    async fn count(&self, tx: Tx<'_>) -> Result<Result<Vec<Allowance>, Admission>, DbError> {
        let toll = Toll {
            key: &self.key,
            hold: self.record.hold,
            is_metered: self.is_metered,
            now_ms: self.record.now_ms,
            presumed: self.presumed.as_deref(),
        };
        Ok(match tx.meters.count(tx.db, &toll).await? {
            Counted::Yes(left) => Ok(left),
            Counted::Exceeded(exceeded) => Err(Admission::Exceeded(exceeded)),
            Counted::KeyDead => Err(Admission::KeyDead),
            Counted::KeyChanged => Err(Admission::KeyChanged),
        })
    }
}

impl Operation for Submit {
    type Answer = Admission;

    async fn run(&self, tx: Tx<'_>) -> Result<Admission, DbError> {
        if let Some(before) = self.before(tx).await? {
            return Ok(before);
        }
        let open = tx.intake.open(tx.db, &self.record);
        let (counted, ()) = try_join(self.count(tx), open).await?;
        let left = match counted {
            Ok(left) => left,
            Err(refusal) => return Ok(refusal),
        };
        if tx.intake.take(tx.db, &self.record).await? {
            return Ok(Admission::Accepted(left));
        }
        if self.is_metered {
            let (hold, now_ms) = (self.record.hold, self.record.now_ms);
            tx.meters.give_back(tx.db, &self.key, hold, now_ms).await?;
        }
        Ok(Admission::Insufficient)
    }

    fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    fn account(&self) -> Option<&str> {
        Some(self.record.account.as_str())
    }

    fn is_intake(&self) -> bool {
        true
    }

    async fn is_recorded(
        &self,
        answer: &Admission,
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        if !matches!(answer, Admission::Accepted(_)) {
            return Ok(None);
        }
        let found = db.row(IS_THERE, values![self.record.id.as_str()]).await?;
        Ok(Some(found.is_some()))
    }
}
