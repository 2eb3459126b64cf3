//! Submit: the one admission operation.

use domain::ids::{AccountId, KeyId, TaskId};
use domain::task::Task;

use super::committer::Operation;
use super::db::{DbError, Session};
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
    /// Recorded.
    Accepted,
    /// The same request was recorded before; its first reply.
    Replayed(String),
    /// The idempotency key was used for another request.
    Reused,
    /// The available credits do not cover it.
    Insufficient,
    /// The key is deleted or expired.
    KeyDead,
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
        let mark = idempotency
            .as_ref()
            .map(|wish| format!("{}/{}", task.account, wish.key));
        let submit = Submit {
            id: task.id.clone(),
            hold_id: format!("hold:{}", task.id),
            account: task.account.clone(),
            key: task.key.clone(),
            model: task.order.model.clone(),
            hold: task.hold.0,
            now_ms: task.created_ms,
            body: json(task)?,
            idempotency,
            mark,
        };
        let admission = self.admit(submit).await?;
        if admission == Admission::Accepted {
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
    hold: i64,
    now_ms: i64,
    body: String,
    idempotency: Option<Idempotency>,
    mark: Option<String>,
}

const KEY_LIVES: &str = "SELECT 1 FROM api_keys WHERE id = $1 AND expires_ms > $2";

const FIRST: &str = "SELECT fingerprint, reply FROM idempotency WHERE account = $1 AND key = $2";

const REMEMBER: &str = "INSERT INTO idempotency (account, key, fingerprint, reply, created_ms)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account, key) DO NOTHING";

// Looks after the key too: a statement less for every task that is accepted.
const HOLD: &str = "UPDATE accounts SET held = held + $1 WHERE id = $2 AND posted - held >= $1
    AND EXISTS (SELECT 1 FROM api_keys k WHERE k.id = $3 AND k.expires_ms > $4)";

const ENTRY: &str = "INSERT INTO entries (id, account, kind, task, amount, created_ms)
    VALUES ($1, $2, 'hold', $3, $4, $5)";

// Accounts take turns: a task stands behind the account's other queued ones, and the first one of an
// account stands beside the head of the queue: of what is due, as one that was put off long ago would
// let a newcomer pass all who came since.
const TASK: &str = "INSERT INTO tasks (id, account, model, phase, status, lane, turn, due_ms,
        lease_owner, lease_until_ms, epoch, version, is_cancel_asked, created_ms, updated_ms, body)
    VALUES ($1, $2, $3, 'queued', 'waiting', 1,
        COALESCE(
            (SELECT MAX(turn) + 1 FROM tasks WHERE lane = 1 AND account = $2),
            (SELECT MIN(turn) FROM tasks WHERE lane = 1 AND due_ms <= $4),
            (SELECT MIN(turn) FROM tasks WHERE lane = 1),
            0),
        $4, '', 0, 0, 1, 0, $4, $4, $5)";

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
    async fn not_accepted(
        &self,
        db: Session<'_>,
        first: Option<Admission>,
    ) -> Result<Admission, DbError> {
        let key = values![self.key.as_str(), self.now_ms];
        if db.row(KEY_LIVES, key).await?.is_none() {
            return Ok(Admission::KeyDead);
        }
        Ok(first.unwrap_or(Admission::Insufficient))
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

    async fn run(&self, db: Session<'_>) -> Result<Admission, DbError> {
        let (id, account) = (self.id.as_str(), self.account.as_str());
        let first = match &self.idempotency {
            Some(wish) => first(db, &self.account, wish).await?,
            None => None,
        };
        let hold = values![self.hold, account, self.key.as_str(), self.now_ms];
        if first.is_some() || db.execute(HOLD, hold).await? == 0 {
            return self.not_accepted(db, first).await;
        }
        // The lock on the account keeps twins on other nodes away; one that got past it has to wait.
        if !self.remember(db).await? {
            return Err(DbError::Conflict("a twin was just recorded".to_owned()));
        }
        let entry = values![&self.hold_id, account, id, self.hold, self.now_ms];
        db.execute(ENTRY, entry).await?;
        let task = values![id, account, &self.model, self.now_ms, &self.body];
        db.execute(TASK, task).await?;
        Ok(Admission::Accepted)
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
        if *answer != Admission::Accepted {
            return Ok(None);
        }
        let found = db.row(IS_THERE, values![self.id.as_str()]).await?;
        Ok(Some(found.is_some()))
    }
}
