//! Wishes to be told of a low balance, as accounts see them, and when they are due.
//!
//! Invariant: an alert is tripped once for each time the balance is found below its threshold, and
//! armed again only when it is found at or above. Nothing is written where credits are held or
//! spent: whoever looks compares.

use domain::credits::Credits;
use domain::ids::{AccountId, AlertId};

use super::committer::{Operation, Tx};
use super::db::{DbError, Row};
use super::{Store, StoreError};
use crate::values;

/// Most alerts of an account.
pub const ALERTS_MAX: i64 = 10;

/// How many mails of an alert may follow each other at once.
pub const BURST: i64 = 4;

/// How long after that until the next, in milliseconds: a balance that goes up and down around the
/// threshold must not fill somebody's mailbox.
pub const PACE_MS: i64 = 3_600_000;

/// Where an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertState {
    /// The balance was not found below the threshold.
    Armed,
    /// It was, and the mail has to go out.
    Due,
    /// The mail was sent.
    Sent,
    /// The mail was given up.
    Failed,
}

impl AlertState {
    const ALL: [Self; 4] = [Self::Armed, Self::Due, Self::Sent, Self::Failed];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Armed => "armed",
            Self::Due => "due",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    fn read(text: &str) -> Result<Self, DbError> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| DbError::Broken(format!("an alert is {text}")))
    }
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// Below this it is due.
    pub threshold: Credits,
    /// Where the mail goes.
    pub email: String,
    /// Where it is.
    pub state: AlertState,
    /// When the last mail was sent, Unix milliseconds.
    pub sent_ms: Option<i64>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
}

/// What turns an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The balance is below.
    Trip,
    /// The balance is back.
    Arm,
}

/// Alerts in the order of their ids, as far as they were looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// What has to be turned.
    pub turns: Vec<(AlertId, Turn)>,
    /// The last one looked at; `None` where there are no more.
    pub last: Option<AlertId>,
}

const INSERT: &str =
    "INSERT INTO alerts (id, account, threshold, email, state, crossing, left_over,
        crossed_ms, attempts, due_ms, lease_until_ms, paced_ms, sent_ms, created_ms)
    SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS TEXT), 'armed',
        0, 0, 0, 0, 0, 0, 0, 0, CAST($5 AS BIGINT)
    WHERE (SELECT COUNT(*) FROM alerts a WHERE a.account = $2) < $6";

const LIST: &str = "SELECT id, threshold, email, state, sent_ms, created_ms FROM alerts
    WHERE account = $1 ORDER BY created_ms, id";

const DELETE: &str = "DELETE FROM alerts WHERE id = $1 AND account = $2";

const LOOK: &str = "WITH page AS (
        SELECT id, account, threshold, state FROM alerts WHERE id > $1 ORDER BY id LIMIT $2)
    SELECT page.id, page.state, page.threshold, a.posted - a.held
    FROM page LEFT JOIN accounts a ON a.id = page.account ORDER BY page.id";

// What was seen may be past: the balance is compared once more. The pace is that of a bucket that
// holds BURST mails and is filled by one in PACE_MS: `paced_ms` is when it would be full again.
const TRIP: &str = "UPDATE alerts SET state = 'due', crossing = crossing + 1, attempts = 0,
        crossed_ms = $1,
        left_over = (SELECT a.posted - a.held FROM accounts a WHERE a.id = alerts.account),
        due_ms = CASE WHEN paced_ms - $2 > $1 THEN paced_ms - $2 ELSE $1 END,
        paced_ms = CASE WHEN paced_ms > $1 THEN paced_ms ELSE $1 END + $3
    WHERE id = $4 AND state = 'armed' AND EXISTS (
        SELECT 1 FROM accounts a
        WHERE a.id = alerts.account AND a.posted - a.held < alerts.threshold)";

const ARM: &str = "UPDATE alerts SET state = 'armed'
    WHERE id = $1 AND state IN ('sent', 'failed') AND EXISTS (
        SELECT 1 FROM accounts a
        WHERE a.id = alerts.account AND a.posted - a.held >= alerts.threshold)";

impl Store {
    /// Makes an alert, armed; answers whether the account had room for it.
    ///
    /// # Errors
    /// The store is unavailable; `Duplicate` for a threshold of nothing.
    pub async fn create_alert(
        &self,
        account: &AccountId,
        alert: &Alert,
    ) -> Result<bool, StoreError> {
        let (account, alert) = (account.clone(), alert.clone());
        self.write(Create { account, alert }).await
    }

    /// The alerts of an account, oldest first.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn alerts(&self, account: &AccountId) -> Result<Vec<Alert>, StoreError> {
        let reader = self.reader().await?;
        let rows = reader
            .session()
            .rows(LIST, values![account.as_str()])
            .await?;
        let alerts: Result<Vec<_>, _> = rows.iter().map(read).collect();
        Ok(alerts?)
    }

    /// Deletes an alert of an account; answers whether there was one.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn delete_alert(
        &self,
        account: &AccountId,
        id: &AlertId,
    ) -> Result<bool, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(Delete { account, id }).await
    }

    /// Compares up to `limit` alerts behind `after` with the balances of their accounts.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_look_at_alerts(&self, after: &str, limit: i64) -> Result<Looked, StoreError> {
        let reader = self.reader().await?;
        let rows = reader.session().rows(LOOK, values![after, limit]).await?;
        let mut looked = Looked::default();
        for row in &rows {
            let id = AlertId(row.text(0)?);
            looked
                .turns
                .extend(turn(row)?.map(|turn| (id.clone(), turn)));
            looked.last = Some(id);
        }
        if i64::try_from(rows.len()).is_ok_and(|found| found < limit) {
            looked.last = None;
        }
        Ok(looked)
    }

    /// Trips and arms alerts whose balance still wants it; answers how many.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_turn_alerts(
        &self,
        turns: Vec<(AlertId, Turn)>,
        now_ms: i64,
    ) -> Result<u64, StoreError> {
        self.write(Turning { turns, now_ms }).await
    }
}

fn read(row: &Row) -> Result<Alert, DbError> {
    Ok(Alert {
        id: AlertId(row.text(0)?),
        threshold: Credits(row.int(1)?),
        email: row.text(2)?,
        state: AlertState::read(&row.text(3)?)?,
        sent_ms: Some(row.int(4)?).filter(|sent_ms| *sent_ms > 0),
        created_ms: row.int(5)?,
    })
}

fn turn(row: &Row) -> Result<Option<Turn>, DbError> {
    let Some(available) = row.int_or_null(3)? else {
        return Ok(None);
    };
    let is_below = available < row.int(2)?;
    Ok(match (AlertState::read(&row.text(1)?)?, is_below) {
        (AlertState::Armed, true) => Some(Turn::Trip),
        (AlertState::Sent | AlertState::Failed, false) => Some(Turn::Arm),
        _ => None,
    })
}

struct Create {
    account: AccountId,
    alert: Alert,
}

impl Operation for Create {
    type Answer = bool;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<bool, DbError> {
        let alert = &self.alert;
        let values = values![
            alert.id.as_str(),
            self.account.as_str(),
            alert.threshold.0,
            &alert.email,
            alert.created_ms,
            ALERTS_MAX,
        ];
        Ok(db.execute(INSERT, values).await? == 1)
    }

    /// Two nodes that count at once must not both find room.
    fn account(&self) -> Option<&str> {
        Some(self.account.as_str())
    }
}

struct Delete {
    account: AccountId,
    id: AlertId,
}

impl Operation for Delete {
    type Answer = bool;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<bool, DbError> {
        let values = values![self.id.as_str(), self.account.as_str()];
        Ok(db.execute(DELETE, values).await? == 1)
    }
}

struct Turning {
    /// In the order of the ids, so that nodes that turn the same ones wait for each other.
    turns: Vec<(AlertId, Turn)>,
    now_ms: i64,
}

impl Operation for Turning {
    type Answer = u64;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<u64, DbError> {
        let slack_ms = PACE_MS * (BURST - 1);
        let mut turned: u64 = 0;
        for (id, turn) in &self.turns {
            let id = id.as_str();
            turned += match turn {
                Turn::Trip => {
                    let values = values![self.now_ms, slack_ms, PACE_MS, id];
                    db.execute(TRIP, values).await?
                }
                Turn::Arm => db.execute(ARM, values![id]).await?,
            };
        }
        Ok(turned)
    }
}
