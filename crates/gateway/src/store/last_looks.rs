//! Attempts that were given up while the provider may still have been at work. They are looked at once
//! more after the task has ended, so that the operator knows what was paid for nothing.
//!
//! Invariant: a look changes neither the task nor its account; it is owed from the transaction that gives
//! the attempt up, and a late success is booked once.

use domain::ids::AttemptId;
use domain::task::{AttemptState, Change, ErrorKind, Phase, Task};

use super::committer::{Operation, Tx};
use super::db::{DbError, Session};
use super::{Store, StoreError, json, parse};
use crate::values;

/// How long after an attempt was given up it is looked at, and how long after a look that was of no use,
/// in milliseconds.
pub const LOOK_AFTER_MS: i64 = 3_600_000;

/// Most attempts looked at in one go.
const LOOKS_AT_ONCE: i64 = 20;

/// What a late success is called in the attempt's note.
const NOTE: &str = "succeeded after it was given up";

/// An attempt that is to be looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct LastLook {
    /// The task as it was when the attempt was given up.
    pub task: Task,
    /// The attempt.
    pub attempt: AttemptId,
    /// The how-manieth look this is, from 1.
    pub looks: i64,
}

const OWE: &str = "INSERT INTO last_looks (attempt, due_ms, looks, body) VALUES ($1, $2, 0, $3)
    ON CONFLICT (attempt) DO NOTHING";

// Whoever looks has it until it is due again; if nothing comes of that, the next one looks.
const CLAIM: &str = "WITH due AS (
        SELECT attempt FROM last_looks WHERE due_ms <= $1
        ORDER BY due_ms LIMIT $2 /* skip locked */)
    UPDATE last_looks SET due_ms = $3, looks = looks + 1
    WHERE attempt IN (SELECT attempt FROM due) AND due_ms <= $1
    RETURNING attempt, looks, body";

const SETTLE: &str = "DELETE FROM last_looks WHERE attempt = $1";

const BOOK: &str = "UPDATE attempts SET note = $1, upstream_id = COALESCE(upstream_id, $2),
    updated_ms = $3 WHERE id = $4 RETURNING upstream_id";

/// What is kept of a change that gives an attempt up; nothing when the provider confirmed that it will
/// not be charged, or when nothing was given up.
pub(super) fn owed(before: &Task, change: &Change) -> Result<Option<String>, StoreError> {
    let is_given_up = matches!(&change.attempt, Some(row) if row.state == AttemptState::Abandoned);
    let is_confirmed =
        matches!(&change.task.phase, Phase::Failed { error } if error.kind == ErrorKind::Cancelled);
    if is_given_up && !is_confirmed {
        return Ok(Some(json(before)?));
    }
    Ok(None)
}

/// Owes a look at an attempt.
pub(super) async fn owe(
    db: Session<'_>,
    attempt: &AttemptId,
    body: &str,
    now_ms: i64,
) -> Result<(), DbError> {
    let due_ms = now_ms.saturating_add(LOOK_AFTER_MS);
    let values = values![attempt.as_str(), due_ms, body];
    db.execute(OWE, values).await.map(drop)
}

impl Store {
    /// Attempts that are to be looked at now. Each comes again an hour later unless it is settled.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_due_looks(&self, now_ms: i64) -> Result<Vec<LastLook>, StoreError> {
        self.write(Claim { now_ms }).await
    }

    /// Nothing more is expected of an attempt.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_settle_look(&self, attempt: &AttemptId) -> Result<(), StoreError> {
        let attempt = attempt.clone();
        self.write(Settle { attempt }).await
    }

    /// Notes that an attempt succeeded although it was given up. Answers the provider's id of the work,
    /// `work` where the attempt has none; nothing when it was noted before.
    ///
    /// # Errors
    /// The store is unavailable; or the id is another attempt's.
    pub async fn any_book_late(
        &self,
        attempt: &AttemptId,
        work: Option<String>,
        now_ms: i64,
    ) -> Result<Option<String>, StoreError> {
        let attempt = attempt.clone();
        self.write(Book {
            attempt,
            work,
            now_ms,
        })
        .await
    }
}

struct Claim {
    now_ms: i64,
}

impl Operation for Claim {
    type Answer = Vec<LastLook>;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Vec<LastLook>, DbError> {
        let again_ms = self.now_ms.saturating_add(LOOK_AFTER_MS);
        let values = values![self.now_ms, LOOKS_AT_ONCE, again_ms];
        let mut looks = Vec::new();
        for row in db.rows(CLAIM, values).await? {
            let attempt = AttemptId(row.text(0)?);
            match parse(row.str(2)?) {
                Ok(task) => looks.push(LastLook {
                    task,
                    attempt,
                    looks: row.int(1)?,
                }),
                Err(error) => tracing::error!(%attempt, %error, "a task given up cannot be read"),
            }
        }
        Ok(looks)
    }
}

struct Settle {
    attempt: AttemptId,
}

impl Operation for Settle {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let attempt = values![self.attempt.as_str()];
        db.execute(SETTLE, attempt).await.map(drop)
    }
}

struct Book {
    attempt: AttemptId,
    work: Option<String>,
    now_ms: i64,
}

impl Operation for Book {
    type Answer = Option<String>;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Option<String>, DbError> {
        let attempt = self.attempt.as_str();
        if db.execute(SETTLE, values![attempt]).await? == 0 {
            return Ok(None);
        }
        let work = self.work.as_ref();
        let row = db
            .row(BOOK, values![NOTE, work, self.now_ms, attempt])
            .await?;
        let known = row.map(|row| row.text_or_null(0)).transpose()?.flatten();
        Ok(Some(known.unwrap_or_default()))
    }
}
