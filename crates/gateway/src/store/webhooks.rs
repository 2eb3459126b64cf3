//! What webhooks of providers do: they make a task due, and leave the id of work whose acceptance was
//! lost.
//!
//! Invariant: nothing here changes how a task stands. A worker reads at the provider what it believes.

use domain::ids::{AttemptId, TaskId};
use domain::task::Task;

use super::committer::{Operation, Tx};
use super::db::DbError;
use super::work::task_of;
use super::{Store, StoreError};
use crate::values;

/// How long a receipt is kept, in milliseconds: a week.
const RECEIPT_MS: i64 = 604_800_000;

/// What a webhook is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The task.
    pub task: TaskId,
    /// Its attempt.
    pub attempt: AttemptId,
    /// The provider's id of the work, where the delivery names it.
    pub work: Option<String>,
}

/// What came of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hooked {
    /// The work is known to be accepted; it is asked after at once.
    Nudged,
    /// It was not known whether the work was accepted; now its id is.
    Received,
    /// The attempt ended with its work; nothing follows.
    Over,
    /// The attempt was given up or refused; if it is watched, it is looked at at once.
    GivenUp,
    /// There is no such attempt.
    Missing,
}

const ATTEMPT: &str = "SELECT t.body, t.version, t.is_cancel_asked, a.provider
    FROM attempts a JOIN tasks t ON t.id = a.task WHERE a.id = $1 AND a.task = $2";

const STATE: &str = "SELECT state, provider FROM attempts WHERE id = $1 AND task = $2";

// An id that another attempt has already is not believed, and the first one told is kept.
const RECEIVE: &str = "INSERT INTO receipts (attempt, work, at_ms)
    SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT)
    WHERE NOT EXISTS (SELECT 1 FROM attempts WHERE provider = $4 AND upstream_id = $2)
    ON CONFLICT (attempt) DO NOTHING";

// A task that somebody holds is being read already; what is told of one whose answer is not known is
// looked for when it is let go.
const NUDGE: &str = "UPDATE tasks SET due_ms = $1
    WHERE id = $2 AND phase = $3 AND due_ms > $1 AND lease_until_ms <= $1";

const LOOK_NOW: &str = "UPDATE last_looks SET due_ms = $1 WHERE attempt = $2 AND due_ms > $1";

const RECEIPT: &str = "SELECT work FROM receipts WHERE attempt = $1";

const FORGET: &str = "DELETE FROM receipts WHERE attempt = $1";

const SWEEP: &str = "DELETE FROM receipts WHERE at_ms < $1";

impl Store {
    /// A task with the provider of one of its attempts.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_task_of_attempt(
        &self,
        task: &TaskId,
        attempt: &AttemptId,
    ) -> Result<Option<(Task, String)>, StoreError> {
        let reader = self.reader().await?;
        let ids = values![attempt.as_str(), task.as_str()];
        let row = reader.session().row(ATTEMPT, ids).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some((task_of(&row)?, row.text(3)?)))
    }

    /// Takes in what a webhook tells; whoever calls this knows that it is the provider's.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_told(&self, told: Told, now_ms: i64) -> Result<Hooked, StoreError> {
        let hooked = self.write(Tell { told, now_ms }).await?;
        self.hint_work();
        Ok(hooked)
    }

    /// The provider's id of the work of an attempt, as a webhook named it.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_receipt(&self, attempt: &AttemptId) -> Result<Option<String>, StoreError> {
        let reader = self.reader().await?;
        let row = reader
            .session()
            .row(RECEIPT, values![attempt.as_str()])
            .await?;
        Ok(row.map(|row| row.text(0)).transpose()?)
    }

    /// Makes a task due whose answer is not known, and which nobody holds.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_nudge_unknown(&self, task: &TaskId, now_ms: i64) -> Result<(), StoreError> {
        let task = task.clone();
        self.write(NudgeUnknown { task, now_ms }).await?;
        self.hint_work();
        Ok(())
    }

    /// Forgets a receipt that nothing can be made of.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_forget_receipt(&self, attempt: &AttemptId) -> Result<(), StoreError> {
        let attempt = attempt.clone();
        self.write(Forget { attempt }).await
    }

    /// Removes receipts older than a week; answers how many.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_sweep_receipts(&self, now_ms: i64) -> Result<u64, StoreError> {
        let before_ms = now_ms.saturating_sub(RECEIPT_MS);
        self.write(Sweep { before_ms }).await
    }
}

struct Tell {
    told: Told,
    now_ms: i64,
}

impl Operation for Tell {
    type Answer = Hooked;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Hooked, DbError> {
        let (task, attempt) = (self.told.task.as_str(), self.told.attempt.as_str());
        let Some(row) = db.row(STATE, values![attempt, task]).await? else {
            return Ok(Hooked::Missing);
        };
        let (state, provider) = (row.text(0)?, row.text(1)?);
        let nudge = async |phase| db.execute(NUDGE, values![self.now_ms, task, phase]).await;
        if state == "accepted" {
            nudge("running").await?;
            return Ok(Hooked::Nudged);
        }
        if state == "done" || state == "failed" {
            return Ok(Hooked::Over);
        }
        if let Some(work) = &self.told.work {
            let values = values![attempt, work, self.now_ms, &provider];
            db.execute(RECEIVE, values).await?;
        }
        if state == "sending" || state == "unknown" {
            if self.told.work.is_some() {
                nudge("unknown").await?;
            }
            return Ok(Hooked::Received);
        }
        db.execute(LOOK_NOW, values![self.now_ms, attempt]).await?;
        Ok(Hooked::GivenUp)
    }
}

struct NudgeUnknown {
    task: TaskId,
    now_ms: i64,
}

impl Operation for NudgeUnknown {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        let values = values![self.now_ms, self.task.as_str(), "unknown"];
        db.execute(NUDGE, values).await
    }
}

struct Forget {
    attempt: AttemptId,
}

impl Operation for Forget {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let attempt = values![self.attempt.as_str()];
        db.execute(FORGET, attempt).await.map(drop)
    }
}

struct Sweep {
    before_ms: i64,
}

impl Operation for Sweep {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        db.execute(SWEEP, values![self.before_ms]).await
    }
}
