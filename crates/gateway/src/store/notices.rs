//! Callback notices: claimed, tried, recorded, replayed.

use domain::ids::{AccountId, NoticeId, TaskId};

use super::committer::{Operation, Tx};
use super::db::{DbError, Row};
use super::{Store, StoreError};
use crate::values;

/// How long a claimed notice is left to its deliverer, in milliseconds.
pub const LEASE_MS: i64 = 60_000;

/// How long a notice can be replayed, in milliseconds: 30 days.
pub const REPLAY_MS: i64 = 30 * 86_400_000;

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its id, the `webhook-id` of every delivery.
    pub id: NoticeId,
    /// Whose it is.
    pub account: AccountId,
    /// The ended task it tells of.
    pub task: TaskId,
    /// Where it goes.
    pub url: String,
    /// The URL's host.
    pub host: String,
    /// `pending`, `delivered`, `exhausted`, `gone`, `blocked`.
    pub state: String,
    /// POSTs made.
    pub attempts: i64,
    /// Those made before the last replay; the schedule counts from there.
    pub attempts_before: i64,
    /// When the next one is due, Unix milliseconds.
    pub due_ms: i64,
    /// Until when whoever claimed it holds it, or 0. No two claims of it have the same.
    pub lease_until_ms: i64,
    /// Status of the last reply, if there was one.
    pub last_status: Option<i64>,
    /// When the task ended.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
}

/// One POST of a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Which one, from 1.
    pub n: i64,
    /// When it began, Unix milliseconds.
    pub at_ms: i64,
    /// How long it took.
    pub took_ms: i64,
    /// Status of the reply, if there was one.
    pub status: Option<i64>,
    /// The start of the reply, or why there is none.
    pub note: String,
}

/// What follows a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The notice's state from now on.
    pub state: &'static str,
    /// When it is tried again, if it is pending.
    pub due_ms: i64,
}

// The lease's end names the claim: another's, once this one ran out, ends later.
const UNLEASE: &str = "UPDATE notices SET lease_until_ms = 0
    WHERE id = $1 AND lease_until_ms = $2";

const UNLEASE_ALL: &str = "UPDATE notices SET lease_until_ms = 0
    WHERE state = 'pending' AND lease_until_ms > 0";

// A replay that came during the POST is due still, whatever the POST led to; and a POST that took so
// long that another has claimed the notice leaves it the lease.
const RECORD: &str = "UPDATE notices SET
        state = CASE WHEN attempts_before = $1 THEN $2 ELSE state END,
        due_ms = CASE WHEN attempts_before = $1 THEN $3 ELSE due_ms END,
        lease_until_ms = CASE WHEN lease_until_ms = $4 THEN 0 ELSE lease_until_ms END,
        attempts = attempts + 1, last_status = $5, updated_ms = $6
    WHERE id = $7 AND attempts = $8";

const DELIVERY: &str = "INSERT INTO deliveries (notice, n, at_ms, took_ms, status, note)
    VALUES ($1, $2, $3, $4, $5, $6)";

const LIST: &str = "SELECT id, account, task, url, host, state, attempts, attempts_before, due_ms,
        lease_until_ms, last_status, created_ms, updated_ms
    FROM notices WHERE account = $1 ORDER BY created_ms DESC, id DESC LIMIT $2";

const OF_TASK: &str =
    "SELECT id, account, task, url, host, state, attempts, attempts_before, due_ms,
        lease_until_ms, last_status, created_ms, updated_ms
    FROM notices WHERE task = $1 AND account = $2 LIMIT $3";

const ONE: &str = "SELECT id, account, task, url, host, state, attempts, attempts_before, due_ms,
        lease_until_ms, last_status, created_ms, updated_ms
    FROM notices WHERE account = $1 AND id = $2";

const DELIVERIES: &str = "SELECT n, at_ms, took_ms, status, note FROM deliveries
    WHERE notice = $1 ORDER BY n";

// A lease stays: whoever holds it is at it, and two POSTs at once would help nobody.
const REPLAY: &str = "UPDATE notices SET state = 'pending', due_ms = $1, updated_ms = $1,
        attempts_before = attempts
    WHERE id = $2 AND account = $3 AND created_ms >= $4";

pub(super) fn read(row: &Row) -> Result<Notice, DbError> {
    Ok(Notice {
        id: NoticeId(row.text(0)?),
        account: AccountId(row.text(1)?),
        task: TaskId(row.text(2)?),
        url: row.text(3)?,
        host: row.text(4)?,
        state: row.text(5)?,
        attempts: row.int(6)?,
        attempts_before: row.int(7)?,
        due_ms: row.int(8)?,
        lease_until_ms: row.int(9)?,
        last_status: row.int_or_null(10)?,
        created_ms: row.int(11)?,
        updated_ms: row.int(12)?,
    })
}

impl Store {
    /// Gives a claimed notice back without a POST. One that another has claimed since stays as it is.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_unclaim_notice(&self, notice: &Notice) -> Result<(), StoreError> {
        let claim = (notice.id.clone(), notice.lease_until_ms);
        self.write(Unclaim(Some(claim))).await
    }

    /// Gives every claimed notice back; for a server that knows it is the only one.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_unclaim_all_notices(&self) -> Result<(), StoreError> {
        self.write(Unclaim(None)).await
    }

    /// Records a POST of a claimed notice and what follows.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_record_delivery(
        &self,
        notice: &Notice,
        delivery: Delivery,
        verdict: Verdict,
    ) -> Result<(), StoreError> {
        self.write(Record {
            id: notice.id.clone(),
            attempts: notice.attempts,
            attempts_before: notice.attempts_before,
            lease_until_ms: notice.lease_until_ms,
            delivery,
            verdict,
        })
        .await
    }

    /// Notices of an account, newest first; that of one task if it is named.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn notices(
        &self,
        account: &AccountId,
        task: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Notice>, StoreError> {
        let reader = self.reader().await?;
        let (db, account) = (reader.session(), account.as_str());
        let rows = match task {
            Some(task) => db.rows(OF_TASK, values![task, account, limit]).await?,
            None => db.rows(LIST, values![account, limit]).await?,
        };
        let notices: Result<Vec<_>, _> = rows.iter().map(read).collect();
        Ok(notices?)
    }

    /// A notice of an account with its deliveries.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn notice(
        &self,
        account: &AccountId,
        id: &NoticeId,
    ) -> Result<Option<(Notice, Vec<Delivery>)>, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let Some(row) = db.row(ONE, values![account.as_str(), id.as_str()]).await? else {
            return Ok(None);
        };
        let rows = db.rows(DELIVERIES, values![id.as_str()]).await?;
        let delivery = |row: Row| -> Result<Delivery, DbError> {
            Ok(Delivery {
                n: row.int(0)?,
                at_ms: row.int(1)?,
                took_ms: row.int(2)?,
                status: row.int_or_null(3)?,
                note: row.text(4)?,
            })
        };
        let deliveries: Result<Vec<_>, _> = rows.into_iter().map(delivery).collect();
        Ok(Some((read(&row)?, deliveries?)))
    }

    /// Makes a notice of the last 30 days due again, with a whole schedule before it; answers
    /// whether there is such a one.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn replay_notice(
        &self,
        account: &AccountId,
        id: &NoticeId,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let is_there = self
            .write(Replay {
                account: account.clone(),
                id: id.clone(),
                now_ms,
            })
            .await?;
        self.hints.notices.notify_one();
        Ok(is_there)
    }
}

/// The notice and the end of its lease; all of them.
struct Unclaim(Option<(NoticeId, i64)>);

impl Operation for Unclaim {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        match &self.0 {
            Some((id, until_ms)) => db.execute(UNLEASE, values![id.as_str(), *until_ms]).await,
            None => db.execute(UNLEASE_ALL, &[]).await,
        }
        .map(drop)
    }
}

struct Record {
    id: NoticeId,
    attempts: i64,
    attempts_before: i64,
    lease_until_ms: i64,
    delivery: Delivery,
    verdict: Verdict,
}

impl Operation for Record {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let Delivery {
            n,
            at_ms,
            took_ms,
            status,
            note,
        } = &self.delivery;
        let values = values![
            self.attempts_before,
            self.verdict.state,
            self.verdict.due_ms,
            self.lease_until_ms,
            *status,
            at_ms.saturating_add(*took_ms),
            self.id.as_str(),
            self.attempts,
        ];
        // Another node took over when the lease ran out and has recorded its own POST.
        if db.execute(RECORD, values).await? == 0 {
            return Ok(());
        }
        let values = values![self.id.as_str(), *n, *at_ms, *took_ms, *status, note];
        db.execute(DELIVERY, values).await.map(drop)
    }
}

struct Replay {
    account: AccountId,
    id: NoticeId,
    now_ms: i64,
}

impl Operation for Replay {
    type Answer = bool;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<bool, DbError> {
        let oldest_ms = self.now_ms.saturating_sub(REPLAY_MS);
        let values = values![
            self.now_ms,
            self.id.as_str(),
            self.account.as_str(),
            oldest_ms
        ];
        Ok(db.execute(REPLAY, values).await? == 1)
    }
}
