//! A change of a task, written whole or not at all.
//!
//! Invariant: [`Store::commit`] is the only writer of a task after its submit, and writes only for
//! whoever holds the lease on the version it read.

use domain::credits::Credits;
use domain::ids::{AccountId, NoticeId, TaskId};
use domain::task::{AttemptChange, Change, Phase, Task};

use super::committer::{Operation, Tx};
use super::db::{DbError, Session};
use super::files::{REMNANT_MS, remnants};
use super::work::{Claim, Committed, Lease};
use super::{Store, StoreError, json, last_looks, parked};
use crate::values;

impl Store {
    /// Records a change: the task, its attempt, the end of its hold, its files and its notice.
    ///
    /// # Errors
    /// The store is unavailable; or a constraint refuses the change, such as an upstream id that
    /// another task has.
    pub async fn commit(
        &self,
        claim: &Claim,
        change: Change,
        lease: Lease,
        now_ms: i64,
    ) -> Result<Committed, StoreError> {
        let body = json(&change.task)?;
        let id = change.task.id.clone();
        let is_end = change.close.is_some();
        let written = self
            .write(Commit {
                version: claim.task.version,
                clears_cancel: claim.task.is_cancel_asked && !change.task.is_cancel_asked,
                owner: claim.owner.clone(),
                epoch: claim.epoch,
                remnants: remnants(&claim.task, &change.task),
                last_look: last_looks::owed(&claim.task, &change)?,
                change,
                lease,
                body,
                now_ms,
            })
            .await?;
        self.hints.changed(&id);
        if is_end {
            self.hints.notices.notify_one();
        }
        if written.lets_in {
            self.hint_work();
        }
        Ok(written.committed)
    }
}

/// What came of a commit, and whether it let a parked task in.
struct Written {
    committed: Committed,
    lets_in: bool,
}

impl Written {
    const LOST: Self = Self {
        committed: Committed::Lost,
        lets_in: false,
    };
}

struct Commit {
    version: i64,
    owner: String,
    epoch: i64,
    change: Change,
    remnants: Vec<String>,
    /// The task as it was, where its attempt is given up and has to be looked at later.
    last_look: Option<String>,
    lease: Lease,
    body: String,
    clears_cancel: bool,
    now_ms: i64,
}

// A client's wish to cancel that came in meanwhile makes the task due at once where it can be heeded.
// The casts tell PostgreSQL the parameters' type, which it would guess otherwise.
const TASK: &str = "UPDATE tasks SET phase = $1, status = $2, lane = $3,
        due_ms = CASE WHEN is_cancel_asked = 1 AND CAST($4 AS BIGINT) = 1
            THEN CAST($5 AS BIGINT) ELSE CAST($6 AS BIGINT) END,
        lease_owner = CASE WHEN CAST($7 AS BIGINT) = 1 THEN lease_owner ELSE '' END,
        lease_until_ms = CASE WHEN CAST($7 AS BIGINT) = 1 THEN lease_until_ms ELSE 0 END,
        is_cancel_asked = CASE WHEN CAST($8 AS BIGINT) = 1 THEN 0 ELSE is_cancel_asked END,
        version = version + 1, updated_ms = $5, body = $9
    WHERE id = $10 AND version = $11 AND lease_owner = $12 AND epoch = $13";

const OPEN: &str = "INSERT INTO attempts (id, task, account, n, provider, state, is_open, token,
        upstream_id, note, began_ms, updated_ms)
    VALUES ($1, $2, $3, $4, $5, $6, 1, $7, NULL, NULL, $8, $8)";

const ATTEMPT: &str = "UPDATE attempts SET state = $1, is_open = $2,
        upstream_id = COALESCE($3, upstream_id), note = COALESCE($4, note), updated_ms = $5
    WHERE id = $6";

// The close copies the hold it ends, so that the check on the row bounds the charge.
const CLOSE: &str = "INSERT INTO entries (id, account, kind, task, amount, hold, created_ms)
    SELECT $1, account, 'close', task, $2, amount, $3 FROM entries WHERE id = $4";

const SETTLE: &str = "UPDATE accounts SET posted = posted - $1, held = held - $2,
        tasks_active = tasks_active - 1 WHERE id = $3 RETURNING tasks_active_max";

const NOTICE: &str = "INSERT INTO notices (id, account, task, url, host, lane, state, attempts,
        attempts_before, due_ms, lease_until_ms, last_status, created_ms, updated_ms)
    VALUES ($1, $2, $3, $4, $5, $6, 'pending', 0, 0, $7, 0, NULL, $7, $7)";

const FILE: &str =
    "INSERT INTO files (path, account, task, content_type, bytes, sha256, created_ms,
        expires_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (path) DO NOTHING";

const VERSION: &str = "SELECT version, epoch FROM tasks WHERE id = $1";

impl Commit {
    fn task(&self) -> &Task {
        &self.change.task
    }

    async fn write_task(&self, db: Session<'_>) -> Result<bool, DbError> {
        let task = self.task();
        let (lane, heeds_cancel) = match task.phase {
            Phase::Queued { .. } => (1, 1),
            Phase::Running { .. } => (2, 1),
            Phase::Sending { .. } | Phase::Unknown { .. } | Phase::Storing { .. } => (2, 0),
            Phase::Done { .. } | Phase::Failed { .. } => (0, 0),
        };
        let heeds_cancel: i64 = if self.clears_cancel { 0 } else { heeds_cancel };
        let values = values![
            task.phase.as_str(),
            task.status().as_str(),
            lane,
            heeds_cancel,
            self.now_ms,
            task.due_ms,
            i64::from(self.lease == Lease::Keep),
            i64::from(self.clears_cancel),
            &self.body,
            task.id.as_str(),
            self.version,
            &self.owner,
            self.epoch,
        ];
        Ok(db.execute(TASK, values).await? == 1)
    }

    async fn write_attempt(&self, db: Session<'_>, change: &AttemptChange) -> Result<(), DbError> {
        let task = self.task();
        if let Some(attempt) = &change.opened {
            let route = task.routes.get(attempt.route);
            let provider = route.map_or("", |route| route.provider.as_str());
            let values = values![
                attempt.id.as_str(),
                task.id.as_str(),
                task.account.as_str(),
                i64::from(task.attempts),
                provider,
                change.state.as_str(),
                &attempt.token,
                attempt.began_ms,
            ];
            db.execute(OPEN, values).await?;
            return Ok(());
        }
        let values = values![
            change.state.as_str(),
            i64::from(change.state.is_open()),
            change.upstream_id.as_ref(),
            change.note.as_ref(),
            self.now_ms,
            change.id.as_str(),
        ];
        one(db.execute(ATTEMPT, values).await?, "attempt")
    }

    /// Ends the hold and the task's part in what its account and key have under way; answers whether
    /// a parked task was let in.
    async fn settle(
        &self,
        Tx { db, meters, .. }: Tx<'_>,
        charge: Credits,
    ) -> Result<bool, DbError> {
        let task = self.task();
        let close_id = format!("close:{}", task.id);
        let hold_id = format!("hold:{}", task.id);
        let close = values![&close_id, charge.0, self.now_ms, &hold_id];
        one(db.execute(CLOSE, close).await?, "hold")?;
        let settle = values![charge.0, task.hold.0, task.account.as_str()];
        let row = db.row(SETTLE, settle).await?;
        let row = row.ok_or_else(|| DbError::Broken("the account is gone".to_owned()))?;
        let is_limited = row.int(0)? != parked::UNLIMITED;
        let rest = task.hold.minus(charge).unwrap_or(Credits::ZERO);
        if task.is_metered && rest > Credits::ZERO {
            let held_ms = task.created_ms;
            meters.give_back(db, &task.key, rest, held_ms).await?;
        }
        Ok(is_limited && parked::let_one_in(db, &task.account, self.now_ms).await?)
    }

    async fn write_end(&self, db: Session<'_>) -> Result<(), DbError> {
        let task = self.task();
        if let Phase::Done { files, .. } = &task.phase {
            for file in files {
                let values = values![
                    &file.path,
                    task.account.as_str(),
                    task.id.as_str(),
                    &file.content_type,
                    i64::try_from(file.bytes).unwrap_or(i64::MAX),
                    &file.sha256,
                    self.now_ms,
                    file.expires_ms,
                ];
                db.execute(FILE, values).await?;
            }
        }
        for path in &self.remnants {
            let (account, id) = (task.account.as_str(), task.id.as_str());
            let until_ms = self.now_ms.saturating_add(REMNANT_MS);
            let values = values![path, account, id, "", 0, "", self.now_ms, until_ms];
            db.execute(FILE, values).await?;
        }
        if let Some(url) = &task.callback_url {
            write_notice(db, &task.account, &task.id, url, self.now_ms).await?;
        }
        Ok(())
    }
}

async fn write_notice(
    db: Session<'_>,
    account: &AccountId,
    task: &TaskId,
    url: &str,
    now_ms: i64,
) -> Result<(), DbError> {
    let host = url::Url::parse(url).ok();
    let host = host.as_ref().and_then(url::Url::host_str).unwrap_or("");
    let id = NoticeId::of(task);
    let lane = super::lanes::name(account, host);
    let values = values![
        id.as_str(),
        account.as_str(),
        task.as_str(),
        url,
        host,
        &lane,
        now_ms
    ];
    db.execute(NOTICE, values).await.map(drop)
}

/// Exactly one row, or the batch is rolled back.
fn one(rows: u64, what: &str) -> Result<(), DbError> {
    if rows == 1 {
        return Ok(());
    }
    Err(DbError::Broken(format!(
        "{rows} rows changed for one {what}"
    )))
}

impl Operation for Commit {
    type Answer = Written;

    async fn run(&self, tx: Tx<'_>) -> Result<Written, DbError> {
        let db = tx.db;
        if !self.write_task(db).await? {
            return Ok(Written::LOST);
        }
        if let Some(change) = &self.change.attempt {
            self.write_attempt(db, change).await?;
            if let Some(body) = &self.last_look {
                last_looks::owe(db, &change.id, body, self.now_ms).await?;
            }
        }
        let mut lets_in = false;
        if let Some(charge) = self.change.close {
            lets_in = self.settle(tx, charge).await?;
            self.write_end(db).await?;
        }
        Ok(Written {
            committed: Committed::Yes,
            lets_in,
        })
    }

    fn account(&self) -> Option<&str> {
        self.change.close.map(|_| self.task().account.as_str())
    }

    async fn is_recorded(
        &self,
        answer: &Written,
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        let row = db.row(VERSION, values![self.task().id.as_str()]).await?;
        let Some(row) = row.filter(|_| answer.committed == Committed::Yes) else {
            return Ok(None);
        };
        let (version, epoch) = (row.int(0)?, row.int(1)?);
        // Another's claim since then hides who changed it.
        Ok((epoch == self.epoch).then_some(version > self.version))
    }
}
