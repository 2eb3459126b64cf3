//! Files that clients upload: announced before the first byte, recorded after the last.
//!
//! Invariant: whatever may be in the object store has a row: the announcement, as a remnant of the
//! upload, until the file itself takes its place in one transaction. Both end by themselves.

use domain::ids::AccountId;
use domain::task::StoredFile;

use super::committer::{Operation, Tx};
use super::db::DbError;
use super::files::REMNANT_MS;
use super::{Store, StoreError};
use crate::values;

const UPLOAD: &str = "upload:";

/// Stands for the path of what an upload to a folder may have left; no path looks like it.
fn announcement(folder: &str) -> String {
    format!("{UPLOAD}{folder}")
}

/// The folder of an upload that never ended; `None` for the path of a file.
#[must_use]
pub fn of_upload(path: &str) -> Option<&str> {
    path.strip_prefix(UPLOAD)
}

/// An upload belongs to no task.
const PUT: &str = "INSERT INTO files (path, account, task, content_type, bytes, sha256, created_ms,
        expires_ms)
    VALUES ($1, $2, '', $3, $4, $5, $6, $7)";

const RETRACT: &str = "DELETE FROM files WHERE path = $1 AND account = $2";

const EXPIRE: &str = "UPDATE files SET expires_ms = $1
    WHERE path = $2 AND account = $3 AND task = '' AND expires_ms > $1";

impl Store {
    /// Announces an upload to a folder that no other has; it is swept a day later unless it is
    /// recorded.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn announce_upload(
        &self,
        account: &AccountId,
        folder: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let account = account.clone();
        let path = announcement(folder);
        self.write(Announce {
            account,
            path,
            now_ms,
        })
        .await
    }

    /// Records a file in place of its announcement; whether that was still there.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn record_upload(
        &self,
        account: &AccountId,
        folder: &str,
        file: &StoredFile,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let (account, announced) = (account.clone(), announcement(folder));
        let file = file.clone();
        self.write(Record {
            account,
            announced,
            file,
            now_ms,
        })
        .await
    }

    /// Takes an announcement back, once nothing is left of the upload.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn retract_upload(
        &self,
        account: &AccountId,
        folder: &str,
    ) -> Result<(), StoreError> {
        let (account, path) = (account.clone(), announcement(folder));
        self.write(Retract { account, path }).await
    }

    /// Ends an uploaded file now; the next sweep removes it.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn expire_upload(
        &self,
        account: &AccountId,
        path: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let (account, path) = (account.clone(), path.to_owned());
        self.write(Expire {
            account,
            path,
            now_ms,
        })
        .await
    }
}

struct Announce {
    account: AccountId,
    path: String,
    now_ms: i64,
}

impl Operation for Announce {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let until_ms = self.now_ms.saturating_add(REMNANT_MS);
        let account = self.account.as_str();
        let row = values![&self.path, account, "", 0_i64, "", self.now_ms, until_ms];
        db.execute(PUT, row).await.map(drop)
    }
}

struct Record {
    account: AccountId,
    announced: String,
    file: StoredFile,
    now_ms: i64,
}

impl Operation for Record {
    type Answer = bool;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<bool, DbError> {
        let (file, account) = (&self.file, self.account.as_str());
        if db
            .execute(RETRACT, values![&self.announced, account])
            .await?
            != 1
        {
            return Ok(false);
        }
        let bytes = i64::try_from(file.bytes).unwrap_or(i64::MAX);
        let row = values![
            &file.path,
            account,
            &file.content_type,
            bytes,
            &file.sha256,
            self.now_ms,
            file.expires_ms
        ];
        db.execute(PUT, row).await.map(|_| true)
    }
}

struct Retract {
    account: AccountId,
    path: String,
}

impl Operation for Retract {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        db.execute(RETRACT, values![&self.path, self.account.as_str()])
            .await
            .map(drop)
    }
}

struct Expire {
    account: AccountId,
    path: String,
    now_ms: i64,
}

impl Operation for Expire {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let values = values![self.now_ms, &self.path, self.account.as_str()];
        db.execute(EXPIRE, values).await.map(drop)
    }
}
