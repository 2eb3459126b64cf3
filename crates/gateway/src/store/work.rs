//! What workers do: claim tasks that are due and keep their leases. What they commit is next door.
//!
//! Invariant: a task is claimed by one worker at a time, and every claim has its own epoch.

use std::cmp::Ordering;

use domain::task::{Phase, Task};

use super::committer::{Operation, Tx};
use super::db::{DbError, Row, Session};
use super::{Store, StoreError, parse};
use crate::values;

/// How long a claim lasts without being renewed, in milliseconds.
pub const LEASE_MS: i64 = 20_000;

/// A claimed task: nobody else works on it while the lease lasts.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The task as it was claimed.
    pub task: Task,
    /// Who holds it.
    pub owner: String,
    /// Which claim of the task this is.
    pub epoch: i64,
}

/// What becomes of the lease with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// The step goes on.
    Keep,
    /// Whoever is next may claim it when it is due.
    Release,
}

/// What came of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The change is recorded.
    Yes,
    /// The task was claimed or changed by another; nothing is recorded.
    Lost,
}

// A statement that PostgreSQL may plan as a nested loop would run a subquery in IN once for each row,
// each time passing over what it claimed before, and so claim more than its limit; a CTE runs once.
// The sign keeps it from reading all that is open for each id: no index holds `+lane` (decision 24).
const CLAIM_MOVING: &str = "WITH due AS (
        SELECT id FROM tasks WHERE lane = 2 AND due_ms <= $1 AND lease_until_ms <= $1
        ORDER BY due_ms LIMIT $2 /* skip locked */)
    UPDATE tasks SET lease_owner = $3, lease_until_ms = $4, epoch = epoch + 1
    WHERE id IN (SELECT id FROM due)
    AND +lane = 2 AND due_ms <= $1 AND lease_until_ms <= $1
    RETURNING body, version, is_cancel_asked, epoch, due_ms";

const CLAIM_QUEUED: &str = "WITH due AS (
        SELECT id FROM tasks WHERE lane = 1 AND due_ms <= $1 AND lease_until_ms <= $1
        ORDER BY turn, due_ms LIMIT $2 /* skip locked */)
    UPDATE tasks SET lease_owner = $3, lease_until_ms = $4, epoch = epoch + 1
    WHERE id IN (SELECT id FROM due)
    AND +lane = 1 AND due_ms <= $1 AND lease_until_ms <= $1
    RETURNING body, version, is_cancel_asked, epoch, due_ms";

const HOLDER: &str = "SELECT epoch, lease_owner FROM tasks WHERE id = $1";

const RENEW: &str = "UPDATE tasks SET lease_until_ms = $1
    WHERE lease_owner = $2 AND lease_until_ms > 0";

const RELEASE_ALL: &str = "UPDATE tasks SET lease_owner = '', lease_until_ms = 0
    WHERE lease_until_ms > 0";

// Not the least: PostgreSQL looks for that at all of them, if it plans while there are few.
const NEXT_MOVING: &str = "SELECT due_ms FROM tasks
    WHERE lane = 2 AND lease_until_ms <= $1 ORDER BY due_ms LIMIT 1";

impl Store {
    /// Claims up to `limit` tasks that are due: first those under way, then queued ones in turn.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn claim(
        &self,
        owner: &str,
        limit: i64,
        now_ms: i64,
    ) -> Result<Vec<Claim>, StoreError> {
        let owner = owner.to_owned();
        self.write(Claiming {
            owner,
            limit,
            now_ms,
        })
        .await
    }

    /// When the next task under way is due that nobody holds. Queued ones are found by looking every
    /// now and then: a long queue would have to be read through for the first that is due.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_next_due_ms(&self, now_ms: i64) -> Result<Option<i64>, StoreError> {
        let reader = self.reader().await?;
        let row = reader.session().row(NEXT_MOVING, values![now_ms]).await?;
        Ok(row.map(|row| row.int(0)).transpose()?)
    }

    /// Renews every lease of an owner; answers how many it has.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn renew(&self, owner: &str, now_ms: i64) -> Result<u64, StoreError> {
        let owner = owner.to_owned();
        let until_ms = now_ms.saturating_add(LEASE_MS);
        self.write(Renew { owner, until_ms }).await
    }

    /// Gives every lease back, whoever had it; for a server that knows it is the only one.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_release_all(&self) -> Result<u64, StoreError> {
        self.write(ReleaseAll).await
    }
}

struct Claiming {
    owner: String,
    limit: i64,
    now_ms: i64,
}

impl Claiming {
    /// Places for queued tasks, so that those under way cannot hold them up for ever: a quarter; of a
    /// single place every second one, as the clock has it.
    fn kept_for_new(&self) -> i64 {
        match self.limit {
            ..=1 => self.now_ms.rem_euclid(2).min(self.limit.max(0)),
            limit => (limit / 4).max(1),
        }
    }

    /// Claims more until there are `limit` in all.
    async fn take(
        &self,
        db: Session<'_>,
        sql: &'static str,
        limit: i64,
        claims: &mut Vec<Claim>,
    ) -> Result<(), DbError> {
        let taken = i64::try_from(claims.len()).unwrap_or(i64::MAX);
        let room = limit.saturating_sub(taken);
        if room <= 0 {
            return Ok(());
        }
        let until_ms = self.now_ms.saturating_add(LEASE_MS);
        let values = values![self.now_ms, room, &self.owner, until_ms];
        for row in db.rows(sql, values).await? {
            // What cannot be read must not keep all others from being claimed.
            match task_of(&row) {
                Ok(task) => claims.push(Claim {
                    owner: self.owner.clone(),
                    epoch: row.int(3)?,
                    task: nudged(task, row.int(4)?),
                }),
                Err(error) => tracing::error!(%error, "a task cannot be read"),
            }
        }
        Ok(())
    }
}

impl Operation for Claiming {
    type Answer = Vec<Claim>;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Vec<Claim>, DbError> {
        let mut claims = Vec::new();
        let first = self.limit - self.kept_for_new();
        self.take(db, CLAIM_MOVING, first, &mut claims).await?;
        let has_more = i64::try_from(claims.len()) == Ok(first);
        self.take(db, CLAIM_QUEUED, self.limit, &mut claims).await?;
        // Places that were kept for new ones that are not there.
        if has_more {
            self.take(db, CLAIM_MOVING, self.limit, &mut claims).await?;
        }
        Ok(claims)
    }

    async fn is_recorded(
        &self,
        answer: &Vec<Claim>,
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        let Some(first) = answer.first() else {
            return Ok(None);
        };
        let row = db.row(HOLDER, values![first.task.id.as_str()]).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let (epoch, owner) = (row.int(0)?, row.text(1)?);
        // Another's claim since then hides whose the one before was.
        Ok(match epoch.cmp(&first.epoch) {
            Ordering::Less => Some(false),
            Ordering::Equal => Some(owner == self.owner),
            Ordering::Greater => None,
        })
    }
}

/// A task with an upstream that was made due before its time, as a webhook does. A wish to cancel makes
/// its task due as well, and is heeded at its own pace.
fn nudged(mut task: Task, due_ms: i64) -> Task {
    let is_upstream = matches!(task.phase, Phase::Running { .. } | Phase::Unknown { .. });
    if is_upstream && !task.is_cancel_asked {
        task.due_ms = task.due_ms.min(due_ms);
    }
    task
}

/// A task from the columns body, version, `is_cancel_asked`.
pub(super) fn task_of(row: &Row) -> Result<Task, DbError> {
    let mut task: Task = parse(row.str(0)?)?;
    task.version = row.int(1)?;
    task.is_cancel_asked = row.int(2)? != 0;
    Ok(task)
}

struct Renew {
    owner: String,
    until_ms: i64,
}

impl Operation for Renew {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        db.execute(RENEW, values![self.until_ms, &self.owner]).await
    }
}

struct ReleaseAll;

impl Operation for ReleaseAll {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        db.execute(RELEASE_ALL, &[]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::SKIP_LOCKED;

    #[test]
    fn claims_pass_over_rows_that_others_claim() {
        assert!(CLAIM_MOVING.contains(SKIP_LOCKED) && CLAIM_QUEUED.contains(SKIP_LOCKED));
    }
}
