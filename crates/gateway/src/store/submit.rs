//! Submit: the one admission operation.

use std::sync::Arc;

use domain::credits::Credits;
use domain::ids::{AccountId, KeyId, TaskId};
use domain::limits::{Allowance, Exceeded};
use domain::task::Task;

use super::committer::{Operation, Tx};
use super::db::{DbError, Session};
use super::keyring::{Presumed, Seen};
use super::meters::{Counted, Toll};
use super::{Store, StoreError, json, parked};
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
        let submit = Submit {
            id: task.id.clone(),
            hold_id: format!("hold:{}", task.id),
            account: task.account.clone(),
            key: task.key.clone(),
            model: task.order.model.clone(),
            hold: task.hold,
            is_metered: task.is_metered,
            now_ms: task.created_ms,
            deadline_ms: task.deadline_ms,
            body: json(task)?,
            idempotency,
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
    id: TaskId,
    hold_id: String,
    account: AccountId,
    key: KeyId,
    model: String,
    hold: Credits,
    is_metered: bool,
    now_ms: i64,
    deadline_ms: i64,
    body: String,
    idempotency: Option<Idempotency>,
    mark: Option<String>,
    /// The key that it was judged by, if that was not read for it.
    presumed: Option<Arc<Seen>>,
}

const FIRST: &str = "SELECT fingerprint, reply FROM idempotency WHERE account = $1 AND key = $2";

const REMEMBER: &str = "INSERT INTO idempotency (account, key, fingerprint, reply, created_ms)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account, key) DO NOTHING";

const HOLD: &str = "UPDATE accounts SET held = held + $1, tasks_active = tasks_active + 1
    WHERE id = $2 AND posted - held >= $1 RETURNING tasks_active_max";

const ENTRY: &str = "INSERT INTO entries (id, account, kind, task, amount, created_ms)
    VALUES ($1, $2, 'hold', $3, $4, $5)";

// Accounts take turns: a task stands behind the account's other queued ones, and the first one of an
// account stands beside the head of the queue: of what is due, as one that was put off long ago would
// let a newcomer pass all who came since.
const TASK: &str = "INSERT INTO tasks (id, account, model, phase, status, lane, turn, due_ms,
        lease_owner, lease_until_ms, epoch, version, is_cancel_asked, created_ms, updated_ms, body)
    VALUES ($1, $2, $3, 'queued', 'waiting', $4,
        COALESCE(
            (SELECT MAX(turn) + 1 FROM tasks WHERE lane = 1 AND account = $2),
            (SELECT MIN(turn) FROM tasks WHERE lane = 1 AND due_ms <= $5),
            (SELECT MIN(turn) FROM tasks WHERE lane = 1),
            0),
        $6, '', 0, 0, 1, 0, $5, $5, $7)";

/// The lane of queued tasks.
const QUEUED: i64 = 1;

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
        let Some(wish) = &self.idempotency else {
            return Ok(None);
        };
        let Some(first) = first(tx.db, &self.account, wish).await? else {
            return Ok(None);
        };
        let is_alive = tx.meters.is_alive(tx.db, &self.key, self.now_ms).await?;
        Ok(Some(if is_alive { first } else { Admission::KeyDead }))
    }

    /// Counts the request with its key; what is left of the key's limits, or the refusal.
    async fn count(&self, tx: Tx<'_>) -> Result<Result<Vec<Allowance>, Admission>, DbError> {
        let toll = Toll {
            key: &self.key,
            hold: self.hold,
            is_metered: self.is_metered,
            now_ms: self.now_ms,
            presumed: self.presumed.as_deref(),
        };
        Ok(match tx.meters.count(tx.db, &toll).await? {
            Counted::Yes(left) => Ok(left),
            Counted::Exceeded(exceeded) => Err(Admission::Exceeded(exceeded)),
            Counted::KeyDead => Err(Admission::KeyDead),
            Counted::KeyChanged => Err(Admission::KeyChanged),
        })
    }

    /// Whether this request is the first with its idempotency key.
    async fn remember(&self, db: Session<'_>) -> Result<bool, DbError> {
        let Some(wish) = &self.idempotency else {
            return Ok(true);
        };
        let values = values![
            self.account.as_str(),
            &wish.key,
            &wish.fingerprint,
            &wish.reply,
            self.now_ms
        ];
        Ok(db.execute(REMEMBER, values).await? == 1)
    }
}

impl Operation for Submit {
    type Answer = Admission;

    async fn run(&self, tx: Tx<'_>) -> Result<Admission, DbError> {
        if let Some(before) = self.before(tx).await? {
            return Ok(before);
        }
        let left = match self.count(tx).await? {
            Ok(left) => left,
            Err(refusal) => return Ok(refusal),
        };
        let (db, id, account) = (tx.db, self.id.as_str(), self.account.as_str());
        let Some(row) = db.row(HOLD, values![self.hold.0, account]).await? else {
            if self.is_metered {
                let (key, hold) = (&self.key, self.hold);
                tx.meters.give_back(db, key, hold, self.now_ms).await?;
            }
            return Ok(Admission::Insufficient);
        };
        let most = row.int(0)?;
        let is_parked = most != parked::UNLIMITED && parked::park(db, &self.account).await?;
        // The lock on the account keeps twins on other nodes away; one that got past it has to wait.
        if !self.remember(db).await? {
            return Err(DbError::Conflict("a twin was just recorded".to_owned()));
        }
        let entry = values![&self.hold_id, account, id, self.hold.0, self.now_ms];
        db.execute(ENTRY, entry).await?;
        // A parked task is due at its deadline.
        let (lane, due_ms) = match is_parked {
            true => (parked::LANE, self.deadline_ms),
            false => (QUEUED, self.now_ms),
        };
        let (model, now_ms) = (&self.model, self.now_ms);
        let task = values![id, account, model, lane, now_ms, due_ms, &self.body];
        db.execute(TASK, task).await?;
        Ok(Admission::Accepted(left))
    }

    fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    fn account(&self) -> Option<&str> {
        Some(self.account.as_str())
    }

    async fn is_recorded(
        &self,
        answer: &Admission,
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        if !matches!(answer, Admission::Accepted(_)) {
            return Ok(None);
        }
        let found = db.row(IS_THERE, values![self.id.as_str()]).await?;
        Ok(Some(found.is_some()))
    }
}
