//! Tasks beyond their account's limit of tasks at once: recorded, parked, let in one by one.
//!
//! Invariant: `tasks_active` of an account counts its tasks in the lanes 1 and 2. Every place is taken, or
//! given back, by one conditional statement before the task moves, so no interleaving of operations
//! lets in one too many; a task that will only be ended takes a place beyond the limit.

use domain::ids::{AccountId, TaskId};
use futures_util::future::{join, try_join_all};

use super::committer::{Operation, Tx};
use super::db::{DbError, Session};
use super::{Store, StoreError};
use crate::values;

/// The lane of parked tasks.
pub(super) const LANE: i64 = 3;

/// Stands for no limit.
pub(super) const UNLIMITED: i64 = i64::MAX;

/// Why a parked task is let in although it will not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Its client wants it to end.
    Cancelled,
    /// It is past its deadline.
    Overdue,
}

/// Most tasks let in by one operation.
const BATCH: i64 = 100;

const TAKE: &str = "UPDATE accounts SET tasks_active = tasks_active + 1
    WHERE id = $1 AND tasks_active < tasks_active_max
    AND (SELECT lane FROM tasks WHERE lane = 3 AND account = $1 ORDER BY id LIMIT 1) = 3";

const TAKE_BEYOND: &str = "UPDATE accounts SET tasks_active = tasks_active + 1 WHERE id = $1";

const GIVE: &str = "UPDATE accounts SET tasks_active = tasks_active - 1 WHERE id = $1";

// The oldest first; it queues behind what the account has in the queue.
const LET_IN: &str = "UPDATE tasks SET lane = 1, due_ms = $1,
        turn = COALESCE(
            (SELECT q.turn + 1 FROM tasks q WHERE q.lane = 1 AND q.account = $2
                ORDER BY q.turn DESC LIMIT 1),
            (SELECT q.turn FROM tasks q WHERE q.lane = 1 AND q.due_ms <= $1
                ORDER BY q.turn LIMIT 1),
            (SELECT q.turn FROM tasks q WHERE q.lane = 1 ORDER BY q.turn LIMIT 1),
            0)
    WHERE +lane = 3 AND id = (SELECT p.id FROM tasks p WHERE p.lane = 3 AND p.account = $2
        ORDER BY p.id LIMIT 1)";

// Parked tasks are due at their deadline.
const END: &str = "UPDATE tasks SET lane = 1, due_ms = $1,
        is_cancel_asked = CASE WHEN CAST($2 AS BIGINT) = 1 THEN 1 ELSE is_cancel_asked END
    WHERE id = $3 AND account = $4 AND +lane = 3";

const OVERDUE: &str = "SELECT id, account FROM tasks WHERE lane = 3 AND due_ms <= $1
    ORDER BY due_ms LIMIT 100";

const WITH_PLACES: &str = "SELECT p.account FROM tasks p, accounts a
    WHERE p.lane = 3 AND a.id = p.account AND a.tasks_active < a.tasks_active_max
    GROUP BY p.account ORDER BY p.account LIMIT 100";

impl Store {
    /// Lets parked tasks in where there are places, and those that are past their deadline, so that
    /// they end. Answers how many.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_let_in(&self, now_ms: i64) -> Result<u64, StoreError> {
        let mut sum = 0_u64;
        loop {
            let count = self.let_some_in(now_ms).await?;
            if count == 0 {
                return Ok(sum);
            }
            self.hint_work();
            sum = sum.saturating_add(count);
        }
    }

    /// As many as two reads find; their writes share commits.
    async fn let_some_in(&self, now_ms: i64) -> Result<u64, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let (mut overdue, mut accounts) = (Vec::new(), Vec::new());
        for row in db.rows(OVERDUE, values![now_ms]).await? {
            let task = (TaskId(row.text(0)?), AccountId(row.text(1)?));
            overdue.push(self.write(Overdue { task, now_ms }));
        }
        for row in db.rows(WITH_PLACES, &[]).await? {
            let account = AccountId(row.text(0)?);
            accounts.push(self.write(LetIn { account, now_ms }));
        }
        let (overdue, accounts) = join(try_join_all(overdue), try_join_all(accounts)).await;
        let counts = overdue?.into_iter().chain(accounts?);
        Ok(counts.fold(0, u64::saturating_add))
    }
}

/// Lets the oldest parked task of an account in if there is a place; answers whether it did.
pub(super) async fn let_one_in(
    db: Session<'_>,
    account: &AccountId,
    now_ms: i64,
) -> Result<bool, DbError> {
    if db.execute(TAKE, values![account.as_str()]).await? == 0 {
        return Ok(false);
    }
    let values = values![now_ms, account.as_str()];
    if db.execute(LET_IN, values).await? == 0 {
        // Another operation of the batch was quicker.
        db.execute(GIVE, values![account.as_str()]).await?;
        return Ok(false);
    }
    Ok(true)
}

/// Whether a task is parked and ends now: it takes a place beyond the limit, for a worker to end it.
pub(super) async fn let_in_to_end(
    db: Session<'_>,
    (id, account): (&TaskId, &AccountId),
    why: Ending,
    now_ms: i64,
) -> Result<bool, DbError> {
    let values = values![
        now_ms,
        i64::from(why == Ending::Cancelled),
        id.as_str(),
        account.as_str()
    ];
    if db.execute(END, values).await? == 0 {
        return Ok(false);
    }
    db.execute(TAKE_BEYOND, values![account.as_str()]).await?;
    Ok(true)
}

struct LetIn {
    account: AccountId,
    now_ms: i64,
}

impl Operation for LetIn {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        let mut count = 0;
        while count < BATCH && let_one_in(db, &self.account, self.now_ms).await? {
            count += 1;
        }
        Ok(u64::try_from(count).unwrap_or(0))
    }

    fn account(&self) -> Option<&str> {
        Some(self.account.as_str())
    }
}

struct Overdue {
    task: (TaskId, AccountId),
    now_ms: i64,
}

impl Operation for Overdue {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        let (id, account) = &self.task;
        let is_let_in = let_in_to_end(db, (id, account), Ending::Overdue, self.now_ms).await?;
        Ok(u64::from(is_let_in))
    }

    fn account(&self) -> Option<&str> {
        Some(self.task.1.as_str())
    }
}
