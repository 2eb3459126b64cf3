//! What an account reads of its ledger: one line for each task and for each payment or correction.
//!
//! Invariant: a line stands where its first entry was made and stays there. How much is read is
//! bounded, however long the history is.

use domain::credits::Credits;
use domain::ids::{AccountId, TaskId, TransactionId};

use super::db::{DbError, Row};
use super::{Store, StoreError};
use crate::values;

/// How many lines are counted, and how deep pages reach: a history may have millions.
pub const LINES_MAX: i64 = 10_000;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A task: what it holds, and once it has ended what it cost.
    Usage,
    /// Paid for on a page of Stripe.
    Stripe,
    /// Given by the operator.
    Grant,
    /// A correction by the operator, either way.
    Adjustment,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its id, the same at every reading.
    pub id: TransactionId,
    /// Where it comes from.
    pub origin: Origin,
    /// What it adds to the balance; negative for what it takes.
    pub credits: Credits,
    /// Whether it may still change: the task has not ended.
    pub is_pending: bool,
    /// The task, if it is one's.
    pub task: Option<TaskId>,
    /// When its first entry was made, Unix milliseconds.
    pub created_ms: i64,
}

/// Which lines to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Not older, Unix milliseconds.
    pub from_ms: i64,
    /// Older than this.
    pub to_ms: i64,
    /// How many of the newest are passed over.
    pub offset: i64,
    /// At most so many.
    pub limit: i64,
}

/// Some lines of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionPage {
    /// Newest first.
    pub lines: Vec<Transaction>,
    /// How many there are in all; [`LINES_MAX`] for as many or more.
    pub total: i64,
}

// A close belongs to the line of its hold. That an entry is one is told by its id, which is in the
// index: what is counted or passed over is never fetched. Compared is only for equality, so that no
// collation matters.
const PAGE: &str = "WITH page AS (
        SELECT p.id FROM entries p
        WHERE p.account = $1 AND p.created_ms >= $2 AND p.created_ms < $3
            AND SUBSTR(p.id, 1, 6) <> 'close:'
        ORDER BY p.created_ms DESC, p.id DESC LIMIT $4 OFFSET $5)
    SELECT e.id, e.kind, e.task, e.amount, e.created_ms, c.amount, s.id
    FROM page JOIN entries e ON e.id = page.id
    LEFT JOIN entries c ON c.id = 'close:' || e.task
    LEFT JOIN checkouts s ON e.kind = 'top_up' AND s.id = SUBSTR(e.id, 8)
    ORDER BY e.created_ms DESC, e.id DESC";

const TOTAL: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM (
        SELECT 1 FROM entries
        WHERE account = $1 AND created_ms >= $2 AND created_ms < $3
            AND SUBSTR(id, 1, 6) <> 'close:' LIMIT $4) AS lines";

impl Store {
    /// Lines of an account, newest first.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn transactions(
        &self,
        account: &AccountId,
        span: Span,
    ) -> Result<TransactionPage, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let (account, from_ms, to_ms) = (account.as_str(), span.from_ms, span.to_ms);
        let page = values![account, from_ms, to_ms, span.limit, span.offset];
        let rows = db.rows(PAGE, page).await?;
        let lines: Result<Vec<_>, _> = rows.iter().map(line).collect();
        let total = db
            .row(TOTAL, values![account, from_ms, to_ms, LINES_MAX])
            .await?;
        Ok(TransactionPage {
            lines: lines?,
            total: total.map_or(Ok(0), |row| row.int(0))?,
        })
    }
}

fn line(row: &Row) -> Result<Transaction, DbError> {
    let (kind, amount) = (row.text(1)?, row.int(3)?);
    let charge = row.int_or_null(5)?;
    let (origin, credits, is_pending) = match kind.as_str() {
        "hold" => (
            Origin::Usage,
            charge.unwrap_or(amount).saturating_neg(),
            charge.is_none(),
        ),
        "top_up" if row.text_or_null(6)?.is_some() => (Origin::Stripe, amount, false),
        "top_up" => (Origin::Grant, amount, false),
        "adjust" => (Origin::Adjustment, amount, false),
        kind => return Err(DbError::Broken(format!("an entry of the kind {kind}"))),
    };
    Ok(Transaction {
        id: TransactionId::of_entry(&row.text(0)?),
        origin,
        credits: Credits(credits),
        is_pending,
        task: row.text_or_null(2)?.map(TaskId),
        created_ms: row.int(4)?,
    })
}
