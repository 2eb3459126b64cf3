//! Result files by name, what is past its time, and the deployment's own secret.
//!
//! Invariant: whatever may be in the object store has a row, from the commit that ends its task on:
//! of a task that ended well each file by its path, and each place where a try may have left another, as
//! a remnant.

use domain::ids::TaskId;
use domain::order::Modality;
use domain::task::{ErrorKind, Phase, Task};

use super::committer::{Operation, Tx};
use super::db::DbError;
use super::{Store, StoreError};
use crate::values;

/// How long an idempotency key is remembered, in milliseconds: 7 days.
pub const IDEMPOTENCY_MS: i64 = 7 * 86_400_000;

/// How long remnants are left alone, in milliseconds: a day. A worker that lost its lease may still
/// be copying.
pub(super) const REMNANT_MS: i64 = 86_400_000;

const REMNANT: &str = "remnant:";

/// Most files of a reply that are stored before it is recorded; what is left of them when it never is
/// can be found by their number.
pub const INLINE_FILES_MAX: usize = 4;

/// Stands for the path of what is left of file `index` of a task; no path looks like it.
#[must_use]
pub fn remnant(task: &TaskId, index: usize) -> String {
    format!("{REMNANT}{task}:{index}")
}

/// The task and the index of a remnant; `None` for the path of a file.
#[must_use]
pub fn of_remnant(path: &str) -> Option<(TaskId, usize)> {
    let (task, index) = path.strip_prefix(REMNANT)?.split_once(':')?;
    Some((TaskId(task.to_owned()), index.parse().ok()?))
}

/// What a task that ends may leave in the object store beside its files.
pub(super) fn remnants(before: &Task, after: &Task) -> Vec<String> {
    let named = match &after.phase {
        Phase::Done { files, .. } => files.len(),
        Phase::Failed { .. } => 0,
        _ => return Vec::new(),
    };
    let copied = match (&before.phase, &after.phase) {
        (Phase::Storing { output, .. }, Phase::Failed { .. }) => {
            let answers = usize::from(output.answer.is_some());
            output.sources.len().saturating_add(answers)
        }
        _ => 0,
    };
    // A reply that came just before its worker died or lost the task may have left its files: that of
    // an attempt that ended without the upstream having said so, or of one before.
    let is_unheard = match &before.phase {
        Phase::Unknown { .. } => true,
        Phase::Running { .. } => matches!(&after.phase, Phase::Failed { error }
            if matches!(error.kind, ErrorKind::Timeout | ErrorKind::Cancelled)),
        _ => false,
    };
    let may_have_come =
        (is_unheard || after.attempts > 1) && after.order.modality != Modality::Chat;
    let inline = if may_have_come { INLINE_FILES_MAX } else { 0 };
    let tried = copied.max(inline);
    (named..tried)
        .map(|index| remnant(&before.id, index))
        .collect()
}

/// What is known of a result file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRead {
    /// Judged from the content when it was stored.
    pub content_type: String,
    /// Size.
    pub bytes: i64,
    /// SHA-256 in hex.
    pub sha256: String,
    /// When it is removed, Unix milliseconds.
    pub expires_ms: i64,
}

const FILE: &str =
    "SELECT content_type, bytes, sha256, expires_ms FROM files WHERE path = $1 AND expires_ms > $2";

const EXPIRED: &str = "SELECT path FROM files WHERE expires_ms <= $1 ORDER BY expires_ms LIMIT $2";

const FORGET: &str = "DELETE FROM files WHERE path = $1 AND expires_ms <= $2";

const FORGET_KEYS: &str = "DELETE FROM idempotency WHERE (account, key) IN (
        SELECT account, key FROM idempotency WHERE created_ms < $1 ORDER BY created_ms LIMIT $2)
    AND created_ms < $1";

/// How many idempotency keys are forgotten at once, so that no submit waits long behind it.
const FORGET_KEYS_MAX: u64 = 1_000;

const SETTING: &str = "SELECT value FROM settings WHERE name = $1";

const SET: &str =
    "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";

const SECRET: &str = "secret";

impl Store {
    /// A result file that is not past its time.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_file(&self, path: &str, now_ms: i64) -> Result<Option<FileRead>, StoreError> {
        let reader = self.reader().await?;
        let row = reader.session().row(FILE, values![path, now_ms]).await?;
        let Some(row) = row else {
            return Ok(None);
        };
        Ok(Some(FileRead {
            content_type: row.text(0)?,
            bytes: row.int(1)?,
            sha256: row.text(2)?,
            expires_ms: row.int(3)?,
        }))
    }

    /// Files past their time, oldest first; see [`of_remnant`].
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_expired_files(
        &self,
        now_ms: i64,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        let reader = self.reader().await?;
        let rows = reader
            .session()
            .rows(EXPIRED, values![now_ms, limit])
            .await?;
        let paths: Result<Vec<_>, _> = rows.iter().map(|row| row.text(0)).collect();
        Ok(paths?)
    }

    /// Forgets a file whose object is removed.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_forget_file(&self, path: String, now_ms: i64) -> Result<(), StoreError> {
        self.write(Forget { path, now_ms }).await
    }

    /// Forgets idempotency keys past their time; answers how many.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_sweep_idempotency(&self, now_ms: i64) -> Result<u64, StoreError> {
        let before_ms = now_ms.saturating_sub(IDEMPOTENCY_MS);
        let mut forgotten: u64 = 0;
        loop {
            let some = self.write(SweepKeys { before_ms }).await?;
            forgotten = forgotten.saturating_add(some);
            if some < FORGET_KEYS_MAX {
                return Ok(forgotten);
            }
        }
    }

    /// The deployment's secret in hex, the same on every node; `fresh` if there is none yet.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_secret(&self, fresh: String) -> Result<String, StoreError> {
        self.write(Secret { fresh }).await
    }
}

struct Forget {
    path: String,
    now_ms: i64,
}

impl Operation for Forget {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        db.execute(FORGET, values![&self.path, self.now_ms])
            .await
            .map(drop)
    }
}

struct SweepKeys {
    before_ms: i64,
}

impl Operation for SweepKeys {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        let limit = i64::try_from(FORGET_KEYS_MAX).unwrap_or(i64::MAX);
        db.execute(FORGET_KEYS, values![self.before_ms, limit])
            .await
    }
}

struct Secret {
    fresh: String,
}

impl Operation for Secret {
    type Answer = String;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<String, DbError> {
        db.execute(SET, values![SECRET, &self.fresh]).await?;
        let row = db.row(SETTING, values![SECRET]).await?;
        row.ok_or_else(|| DbError::Broken("the setting is gone".to_owned()))?
            .text(0)
    }
}
