//! Mails about low balances: claimed, sent by somebody else, recorded.
//!
//! Invariant: a mail belongs to whoever holds its lease. A crash after it was sent makes a second one
//! with the same id, nothing makes a loss.

use domain::credits::Credits;
use domain::ids::AlertId;

use super::alerts::AlertState;
use super::committer::{Operation, Tx};
use super::db::{DbError, Row};
use super::{Store, StoreError};
use crate::values;

/// How long a claimed mail is left to its sender, in milliseconds.
pub const LEASE_MS: i64 = 60_000;

/// A mail to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The alert.
    pub alert: AlertId,
    /// Which of its mails, from 1.
    pub crossing: i64,
    /// The account's name.
    pub account: String,
    /// Where it goes.
    pub email: String,
    /// What the balance fell below.
    pub threshold: Credits,
    /// What was left then.
    pub left_over: Credits,
    /// When that was, Unix milliseconds.
    pub crossed_ms: i64,
    /// How often it was tried.
    pub attempts: i64,
}

/// What follows a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    /// Where the alert is then.
    pub state: AlertState,
    /// When it is tried again, if it is still due.
    pub due_ms: i64,
}

// The CTE runs once, whatever the plan; a subquery in IN may not, and then claims beyond its limit.
const CLAIM: &str = "WITH due AS (
        SELECT id FROM alerts WHERE state = 'due' AND due_ms <= $1 AND lease_until_ms <= $1
        ORDER BY due_ms LIMIT $2 /* skip locked */)
    UPDATE alerts SET lease_until_ms = $3
    WHERE id IN (SELECT id FROM due)
    AND state || '' = 'due' AND due_ms <= $1 AND lease_until_ms <= $1
    RETURNING id, crossing, (SELECT a.name FROM accounts a WHERE a.id = alerts.account), email,
        threshold, left_over, crossed_ms, attempts";

const RECORD: &str = "UPDATE alerts SET state = $1, due_ms = $2, attempts = attempts + 1,
        lease_until_ms = 0, sent_ms = CASE WHEN $1 = 'sent' THEN $3 ELSE sent_ms END
    WHERE id = $4 AND crossing = $5 AND attempts = $6 AND state = 'due'";

impl Store {
    /// Claims up to `limit` mails that are due.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_claim_mails(&self, limit: i64, now_ms: i64) -> Result<Vec<Mail>, StoreError> {
        self.write(Claim { limit, now_ms }).await
    }

    /// Records a try of a claimed mail and what follows; nothing where another has recorded one.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_record_mail(
        &self,
        mail: &Mail,
        tried: Tried,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(Record {
            alert: mail.alert.clone(),
            crossing: mail.crossing,
            attempts: mail.attempts,
            tried,
            now_ms,
        })
        .await
    }
}

fn read(row: &Row) -> Result<Mail, DbError> {
    Ok(Mail {
        alert: AlertId(row.text(0)?),
        crossing: row.int(1)?,
        account: row.text_or_null(2)?.unwrap_or_default(),
        email: row.text(3)?,
        threshold: Credits(row.int(4)?),
        left_over: Credits(row.int(5)?),
        crossed_ms: row.int(6)?,
        attempts: row.int(7)?,
    })
}

struct Claim {
    limit: i64,
    now_ms: i64,
}

impl Operation for Claim {
    type Answer = Vec<Mail>;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Vec<Mail>, DbError> {
        let until_ms = self.now_ms.saturating_add(LEASE_MS);
        let values = values![self.now_ms, self.limit, until_ms];
        let rows = db.rows(CLAIM, values).await?;
        rows.iter().map(read).collect()
    }
}

struct Record {
    alert: AlertId,
    crossing: i64,
    attempts: i64,
    tried: Tried,
    now_ms: i64,
}

impl Operation for Record {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let values = values![
            self.tried.state.as_str(),
            self.tried.due_ms,
            self.now_ms,
            self.alert.as_str(),
            self.crossing,
            self.attempts,
        ];
        db.execute(RECORD, values).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::db::SKIP_LOCKED;

    #[test]
    fn claims_pass_over_rows_that_others_claim() {
        assert!(CLAIM.contains(SKIP_LOCKED));
    }
}
