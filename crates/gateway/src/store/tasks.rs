//! Reading tasks, and the two things a client may do to one: nudge it by cancelling, and list it.

use domain::ids::{AccountId, TaskId};
use domain::task::{Status, Task};

use super::committer::{Operation, Tx};
use super::db::{DbError, Row, Session};
use super::keyring::{Presumed, Seen};
use super::parked::{self, Ending};
use super::work::task_of;
use super::{Store, StoreError};
use crate::values;

/// How far the callback of a task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeState {
    /// `pending`, `delivered`, `exhausted`, `gone`, `blocked`.
    pub state: String,
    /// POSTs made.
    pub attempts: i64,
    /// Status of the last reply, if there was one.
    pub last_status: Option<i64>,
}

/// A task as it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRead {
    /// The task.
    pub task: Task,
    /// Its callback, once there is one.
    pub notice: Option<NoticeState>,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Only with this status.
    pub status: Option<Status>,
    /// Only of this model.
    pub model: Option<String>,
    /// Only older than this one.
    pub before: Option<TaskId>,
    /// At most so many.
    pub limit: i64,
}

/// Tasks of an account, and where to go on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskPage {
    /// The tasks, newest first.
    pub tasks: Vec<TaskRead>,
    /// The task behind which there may be more.
    pub next: Option<TaskId>,
}

/// One line of a task's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRead {
    /// Its id.
    pub id: String,
    /// The provider.
    pub provider: String,
    /// `sending`, `accepted`, `refused`, `unknown`, `done`, `failed`, `abandoned`.
    pub state: String,
    /// The upstream's id of the work, where known.
    pub upstream_id: Option<String>,
    /// When intent was committed, Unix milliseconds.
    pub began_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
}

/// What came of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelWish {
    /// It is recorded; a worker sees to it.
    Recorded,
    /// The task ended before.
    Ended,
    /// There is no such task.
    Missing,
}

const TASK: &str =
    "SELECT body, version, is_cancel_asked FROM tasks WHERE id = $1 AND account = $2";

// The key and what it opens in one look.
const TASK_BY_KEY: &str = "SELECT t.body, t.version, t.is_cancel_asked, k.hash, k.body
    FROM api_keys k JOIN accounts a ON a.id = k.account
    LEFT JOIN tasks t ON t.id = $1 AND t.account = k.account
    WHERE k.id = $2 AND k.expires_ms > $3 AND a.suspended_ms = 0";

const NOTICE: &str = "SELECT state, attempts, last_status FROM notices WHERE id = $1";

const SCAN: &str = "SELECT id, status, model, CAST(OCTET_LENGTH(body) AS BIGINT) FROM tasks
    WHERE account = $1 AND id < $2 ORDER BY id DESC LIMIT $3";

const PAGE: &str = "SELECT t.body, t.version, t.is_cancel_asked, n.state, n.attempts, n.last_status
    FROM tasks t LEFT JOIN notices n ON n.task = t.id
    WHERE t.account = $1 AND t.id <= $2 AND t.id >= $3
        AND ($4 = '' OR t.status = $4) AND ($5 = '' OR t.model = $5)
    ORDER BY t.id DESC LIMIT $6";

const ATTEMPTS: &str = "SELECT a.id, a.provider, a.state, a.upstream_id, a.began_ms, a.updated_ms
    FROM attempts a WHERE a.task = $1 AND a.account = $2 ORDER BY a.n";

const CANCEL: &str = "UPDATE tasks SET is_cancel_asked = 1,
        due_ms = CASE WHEN phase IN ('queued', 'running') AND lease_until_ms <= $1 THEN $1 ELSE due_ms END
    WHERE id = $2 AND account = $3 AND lane > 0";

const IS_THERE: &str = "SELECT 1 FROM tasks WHERE id = $1 AND account = $2";

/// Most tasks looked at for a page with a filter.
const SCAN_MAX: i64 = 1_000;

/// A page ends with the task that takes it over this size, in bytes.
const PAGE_BYTES: i64 = 4 << 20;

/// Behind every task id.
const NEWEST: &str = "g";

impl Store {
    /// A task of an account.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn task(
        &self,
        account: &AccountId,
        id: &TaskId,
    ) -> Result<Option<TaskRead>, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let Some(row) = db.row(TASK, values![id.as_str(), account.as_str()]).await? else {
            return Ok(None);
        };
        Ok(Some(with_notice(db, &row).await?))
    }

    /// A task of the account of a key that was read before: nothing where it is another key now, or no key
    /// any more.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn task_presumed(
        &self,
        presumed: &Presumed,
        id: &TaskId,
        now_ms: i64,
    ) -> Result<Option<Option<TaskRead>>, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let key = &presumed.principal.key;
        let values = values![id.as_str(), key.as_str(), now_ms];
        let row = db.row(TASK_BY_KEY, values).await?;
        let is_same = |row: &Row| -> Result<bool, DbError> {
            let Seen { hash, grant } = &*presumed.seen;
            Ok(row.str(3)? == hash && row.str(4)? == grant)
        };
        let row = match row {
            Some(row) if is_same(&row)? => row,
            _ => {
                self.keyring.forget(key);
                return Ok(None);
            }
        };
        if row.str_or_null(0)?.is_none() {
            return Ok(Some(None));
        }
        Ok(Some(Some(with_notice(db, &row).await?)))
    }

    /// Tasks of an account, newest first. A page may hold fewer than asked for, even none, and go on:
    /// neither a rare filter nor large tasks may make one call read without end.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn tasks(
        &self,
        account: &AccountId,
        filter: &TaskFilter,
    ) -> Result<TaskPage, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let before = filter.before.as_ref().map_or(NEWEST, TaskId::as_str);
        // One more than asked for shows whether there are more.
        let window = match (filter.status, &filter.model) {
            (None, None) => filter.limit.saturating_add(1),
            _ => SCAN_MAX,
        };
        let rows = db
            .rows(SCAN, values![account.as_str(), before, window])
            .await?;
        let mut wanted = Vec::new();
        for row in &rows {
            let (id, status, model) = (row.text(0)?, row.text(1)?, row.text(2)?);
            let is_wanted = filter.status.is_none_or(|known| known.as_str() == status)
                && filter.model.as_ref().is_none_or(|known| *known == model);
            if is_wanted {
                wanted.push((id, row.int(3)?));
            }
        }
        let shown = fitting(&wanted, filter.limit);
        let mut page = TaskPage::default();
        if let (Some((first, _)), Some((last, _))) = (shown.first(), shown.last()) {
            let status = filter.status.map_or("", Status::as_str);
            let model = filter.model.as_deref().unwrap_or("");
            let count = i64::try_from(shown.len()).unwrap_or(i64::MAX);
            let values = values![account.as_str(), first, last, status, model, count];
            for row in db.rows(PAGE, values).await? {
                page.tasks.push(joined(&row)?);
            }
        }
        let scanned = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        page.next = if shown.len() < wanted.len() {
            shown.last().map(|(id, _)| TaskId(id.clone()))
        } else if scanned == window {
            rows.last().map(|row| row.text(0)).transpose()?.map(TaskId)
        } else {
            None
        };
        Ok(page)
    }

    /// The attempts of a task, in their order.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn attempts(
        &self,
        account: &AccountId,
        id: &TaskId,
    ) -> Result<Vec<AttemptRead>, StoreError> {
        let reader = self.reader().await?;
        let rows = reader
            .session()
            .rows(ATTEMPTS, values![id.as_str(), account.as_str()])
            .await?;
        let read = |row: Row| -> Result<AttemptRead, DbError> {
            Ok(AttemptRead {
                id: row.text(0)?,
                provider: row.text(1)?,
                state: row.text(2)?,
                upstream_id: row.text_or_null(3)?,
                began_ms: row.int(4)?,
                updated_ms: row.int(5)?,
            })
        };
        let attempts: Result<Vec<_>, _> = rows.into_iter().map(read).collect();
        Ok(attempts?)
    }

    /// Records the wish to cancel and makes the task due.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn cancel(
        &self,
        account: &AccountId,
        id: &TaskId,
        now_ms: i64,
    ) -> Result<CancelWish, StoreError> {
        let wish = self
            .write(Cancel {
                account: account.clone(),
                id: id.clone(),
                now_ms,
            })
            .await?;
        self.hint_work();
        Ok(wish)
    }
}

/// The first of the tasks, by id and size, up to the limit, or to the one that makes the page too
/// large.
fn fitting(wanted: &[(String, i64)], limit: i64) -> &[(String, i64)] {
    let mut bytes = 0_i64;
    let fits = |(_, more): &&(String, i64)| {
        let has_room = bytes <= PAGE_BYTES;
        bytes = bytes.saturating_add(*more);
        has_room
    };
    let limit = usize::try_from(limit).unwrap_or(0);
    let count = wanted.iter().take(limit).take_while(fits).count();
    wanted.get(..count).unwrap_or_default()
}

/// A task with its notice in the columns behind it.
fn joined(row: &Row) -> Result<TaskRead, DbError> {
    let notice = match row.text_or_null(3)? {
        None => None,
        Some(state) => Some(NoticeState {
            state,
            attempts: row.int(4)?,
            last_status: row.int_or_null(5)?,
        }),
    };
    let task = task_of(row)?;
    Ok(TaskRead { task, notice })
}

async fn with_notice(db: Session<'_>, row: &Row) -> Result<TaskRead, DbError> {
    let task = task_of(row)?;
    let mut notice = None;
    if task.callback_url.is_some() && task.status().is_terminal() {
        let id = domain::ids::NoticeId::of(&task.id);
        if let Some(row) = db.row(NOTICE, values![id.as_str()]).await? {
            notice = Some(NoticeState {
                state: row.text(0)?,
                attempts: row.int(1)?,
                last_status: row.int_or_null(2)?,
            });
        }
    }
    Ok(TaskRead { task, notice })
}

struct Cancel {
    account: AccountId,
    id: TaskId,
    now_ms: i64,
}

impl Operation for Cancel {
    type Answer = CancelWish;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<CancelWish, DbError> {
        let task = (&self.id, &self.account);
        if parked::let_in_to_end(db, task, Ending::Cancelled, self.now_ms).await? {
            return Ok(CancelWish::Recorded);
        }
        let (id, account) = (self.id.as_str(), self.account.as_str());
        if db
            .execute(CANCEL, values![self.now_ms, id, account])
            .await?
            == 1
        {
            return Ok(CancelWish::Recorded);
        }
        let found = db.row(IS_THERE, values![id, account]).await?;
        Ok(found.map_or(CancelWish::Missing, |_| CancelWish::Ended))
    }

    fn account(&self) -> Option<&str> {
        Some(self.account.as_str())
    }
}
