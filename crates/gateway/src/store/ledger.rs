//! Checking the ledger: every balance is recomputed from its entries.

use super::db::Row;
use super::{Store, StoreError};
use crate::values;

/// What a check of the ledger found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerCheck {
    /// Accounts looked at.
    pub accounts: i64,
    /// Entries looked at.
    pub entries: i64,
    /// What does not add up, a sentence each; empty when all is well.
    pub problems: Vec<String>,
}

const COUNTS: &str = "SELECT (SELECT CAST(COUNT(*) AS BIGINT) FROM accounts),
    (SELECT CAST(COUNT(*) AS BIGINT) FROM entries)";

// Posted is what came in less what closes took; held is the holds that no close has ended.
const BALANCES: &str = "SELECT a.id, a.posted, a.held,
        CAST(COALESCE((SELECT SUM(CASE e.kind WHEN 'close' THEN -e.amount WHEN 'hold' THEN 0
            ELSE e.amount END) FROM entries e WHERE e.account = a.id), 0) AS BIGINT),
        CAST(COALESCE((SELECT SUM(CASE e.kind WHEN 'hold' THEN e.amount WHEN 'close' THEN -e.hold
            ELSE 0 END) FROM entries e WHERE e.account = a.id), 0) AS BIGINT)
    FROM accounts a WHERE a.id > $1 ORDER BY a.id LIMIT 500";

const ENDED_WITHOUT_CLOSE: &str = "SELECT t.id FROM tasks t WHERE t.lane = 0
    AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.id = 'close:' || t.id) LIMIT 100";

const OPEN_WITH_CLOSE: &str = "SELECT t.id FROM tasks t WHERE t.lane > 0
    AND EXISTS (SELECT 1 FROM entries e WHERE e.id = 'close:' || t.id) LIMIT 100";

const WRONG_ACTIVE: &str = "SELECT a.id FROM accounts a WHERE a.tasks_active <>
    (SELECT CAST(COUNT(*) AS BIGINT) FROM tasks t WHERE t.account = a.id AND t.lane IN (1, 2)) LIMIT 100";

const WITHOUT_HOLD: &str = "SELECT t.id FROM tasks t
    WHERE NOT EXISTS (SELECT 1 FROM entries e WHERE e.id = 'hold:' || t.id) LIMIT 100";

const FAILED_BUT_CHARGED: &str = "SELECT t.id FROM tasks t, entries e
    WHERE t.status = 'fail' AND e.id = 'close:' || t.id AND e.amount <> 0 LIMIT 100";

const CLOSE_WITHOUT_HOLD: &str = "SELECT c.id FROM entries c WHERE c.kind = 'close'
    AND NOT EXISTS (SELECT 1 FROM entries h WHERE h.id = 'hold:' || c.task AND h.amount = c.hold
        AND h.account = c.account) LIMIT 100";

const OPEN_WITHOUT_TASK: &str = "SELECT h.id FROM entries h WHERE h.kind = 'hold'
    AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.id = h.task)
    AND NOT EXISTS (SELECT 1 FROM entries c WHERE c.id = 'close:' || h.task) LIMIT 100";

const WITHOUT_ACCOUNT: &str = "SELECT e.id FROM entries e
    WHERE NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = e.account) LIMIT 100";

impl Store {
    /// Recomputes every balance and looks for entries that should not be, or are missing. On a busy
    /// store it may see a task between two reads; run it again before believing a single problem.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_ledger_check(&self) -> Result<LedgerCheck, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let mut check = LedgerCheck::default();
        if let Some(row) = db.row(COUNTS, &[]).await? {
            check.accounts = row.int(0)?;
            check.entries = row.int(1)?;
        }
        let mut last = String::new();
        loop {
            let rows = db.rows(BALANCES, values![&last]).await?;
            let Some(row) = rows.last() else { break };
            last = row.text(0)?;
            for row in &rows {
                check.problems.extend(balance(row)?);
            }
        }
        for (sql, problem) in [
            (WITHOUT_HOLD, "has no hold"),
            (ENDED_WITHOUT_CLOSE, "ended without closing its hold"),
            (OPEN_WITH_CLOSE, "goes on although its hold is closed"),
            (FAILED_BUT_CHARGED, "failed and was charged"),
            (CLOSE_WITHOUT_HOLD, "closes a hold that is not there"),
            (OPEN_WITHOUT_TASK, "holds for a task that is not there"),
            (WITHOUT_ACCOUNT, "belongs to no account"),
            (WRONG_ACTIVE, "counts its tasks under way wrongly"),
        ] {
            for row in db.rows(sql, &[]).await? {
                check.problems.push(format!("{} {problem}", row.text(0)?));
            }
        }
        Ok(check)
    }
}

fn balance(row: &Row) -> Result<Option<String>, super::db::DbError> {
    let (posted, held) = (row.int(1)?, row.int(2)?);
    let (sum_posted, sum_held) = (row.int(3)?, row.int(4)?);
    if (posted, held) == (sum_posted, sum_held) {
        return Ok(None);
    }
    Ok(Some(format!(
        "account {} says posted {posted}, held {held}; its entries say {sum_posted}, {sum_held} \
         (micro-credits)",
        row.text(0)?
    )))
}
