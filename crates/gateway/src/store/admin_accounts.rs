//! Accounts as the operator sees and changes them.
//!
//! Invariant: every change leaves its line in the audit log, in the same transaction.

use domain::credits::Credits;
use domain::ids::AccountId;
use domain::ledger::Balance;
use serde_json::{Value, json};

use super::accounts::{Grant, Granted, Granting};
use super::audit::{self, Act, Action, Told};
use super::committer::{Operation, Tx};
use super::db::{DbError, Row, Session};
use super::parked::UNLIMITED;
use super::{Store, StoreError};
use crate::values;

/// An account as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRead {
    /// Its id.
    pub id: AccountId,
    /// Its name, unique.
    pub name: String,
    /// What it has.
    pub balance: Balance,
    /// When it was suspended, Unix milliseconds; nothing if it is not.
    pub suspended_ms: Option<i64>,
    /// How many of its tasks may be under way at once; `None` for as many as it likes.
    pub tasks_max: Option<u32>,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
}

/// How much an account has of what is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountCounts {
    /// Its keys, expired ones too.
    pub keys: i64,
    /// Its tasks that wait for their turn, or for a place among those under way.
    pub queued: i64,
    /// Its tasks under way.
    pub under_way: i64,
}

/// A place in a list of things by age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// When the thing was made, Unix milliseconds.
    pub created_ms: i64,
    /// Its id.
    pub id: String,
}

/// What shall be other about an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountWish {
    /// Its name.
    pub name: Option<String>,
    /// Whether it is suspended: its keys are refused, its tasks go on.
    pub is_suspended: Option<bool>,
    /// How many of its tasks may be under way at once; `Some(None)` for as many as it likes. What is
    /// beyond goes on; what waits is let in by [`Store::any_let_in`].
    pub tasks_max: Option<Option<u32>>,
}

/// What came of a wish to change an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChanged {
    /// How it is now.
    Yes(AccountRead),
    /// There is no such account.
    Missing,
    /// Another account has the name.
    NameTaken,
}

/// Credits that the operator gives or takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditOrder {
    /// Whose.
    pub account: AccountId,
    /// As which kind of entry.
    pub kind: Grant,
    /// How many.
    pub credits: Credits,
    /// What they are for. Counts once for its kind, whatever the account.
    pub reference: String,
    /// For whoever reads the log.
    pub note: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credited {
    /// Entered; what the account has then.
    Yes(Balance),
    /// The very same was entered before; nothing changed. What the account has.
    Before(Balance),
    /// The reference was used for another amount or account.
    Reused,
    /// What is held would not be covered any more.
    Insufficient,
    /// There is no such account.
    Missing,
}

const ONE: &str = "SELECT id, name, posted, held, suspended_ms, created_ms, tasks_active_max
    FROM accounts
    WHERE id = $1";

const NAMED: &str = "SELECT id, name, posted, held, suspended_ms, created_ms, tasks_active_max
    FROM accounts
    WHERE name = $1";

const LIST: &str = "SELECT id, name, posted, held, suspended_ms, created_ms, tasks_active_max
    FROM accounts
    WHERE (created_ms, id) < ($1, $2) ORDER BY created_ms DESC, id DESC LIMIT $3";

const COUNTS: &str = "SELECT
    (SELECT CAST(COUNT(*) AS BIGINT) FROM api_keys WHERE account = $1),
    (SELECT CAST(COUNT(*) AS BIGINT) FROM tasks WHERE account = $1 AND lane IN (1, 3)),
    (SELECT CAST(COUNT(*) AS BIGINT) FROM tasks WHERE account = $1 AND lane = 2)";

const IS_OTHERS: &str = "SELECT 1 FROM accounts WHERE name = $1 AND id <> $2";

// A name that another node takes in the same moment runs into the unique index.
const CHANGE: &str = "UPDATE accounts SET name = $1, suspended_ms = $2, tasks_active_max = $3
    WHERE id = $4";

const ENTRY: &str = "SELECT account, amount FROM entries WHERE id = $1";

impl Store {
    /// Accounts, newest first, behind a place.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_accounts(
        &self,
        behind: Option<&Place>,
        limit: i64,
    ) -> Result<Vec<AccountRead>, StoreError> {
        let reader = self.reader().await?;
        let (ms, id) = behind.map_or((i64::MAX, ""), |place| {
            (place.created_ms, place.id.as_str())
        });
        let rows = reader.session().rows(LIST, values![ms, id, limit]).await?;
        let accounts: Result<Vec<_>, _> = rows.iter().map(account).collect();
        Ok(accounts?)
    }

    /// The account of a name.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_account_by_name(&self, name: &str) -> Result<Option<AccountRead>, StoreError> {
        let reader = self.reader().await?;
        let row = reader.session().row(NAMED, values![name]).await?;
        Ok(row.as_ref().map(account).transpose()?)
    }

    /// An account, and how much it has of what is counted.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn account(
        &self,
        id: &AccountId,
    ) -> Result<Option<(AccountRead, AccountCounts)>, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let Some(account) = one(db, id).await? else {
            return Ok(None);
        };
        let row = db.row(COUNTS, values![id.as_str()]).await?;
        let counts = match row {
            Some(row) => AccountCounts {
                keys: row.int(0)?,
                queued: row.int(1)?,
                under_way: row.int(2)?,
            },
            None => AccountCounts::default(),
        };
        Ok(Some((account, counts)))
    }

    /// Renames, suspends or limits an account, or lets it in again; at once on every node.
    ///
    /// # Errors
    /// `Duplicate` when another node gives the name away in the same moment; the store is unavailable.
    pub async fn change_account(
        &self,
        account: &AccountId,
        wish: AccountWish,
        act: Act,
    ) -> Result<AccountChanged, StoreError> {
        let mark = format!("account:{account}");
        let id = account.clone();
        self.write(Change {
            id,
            wish,
            act,
            mark,
        })
        .await
    }

    /// Gives credits to an account or takes some, once for a reference.
    ///
    /// # Errors
    /// `Duplicate` when the amount is not one that such an entry can have; the store is unavailable.
    pub async fn credit(&self, order: CreditOrder, act: Act) -> Result<Credited, StoreError> {
        let CreditOrder {
            account,
            kind,
            credits,
            reference,
            ..
        } = &order;
        let granting = Granting::new(account, *kind, *credits, reference, act.at_ms)?;
        self.write(Credit {
            granting,
            order,
            act,
        })
        .await
    }
}

fn account(row: &Row) -> Result<AccountRead, DbError> {
    let suspended_ms = row.int(4)?;
    let tasks_max = Some(row.int(6)?).filter(|most| *most != UNLIMITED);
    Ok(AccountRead {
        id: AccountId(row.text(0)?),
        name: row.text(1)?,
        balance: Balance {
            posted: Credits(row.int(2)?),
            held: Credits(row.int(3)?),
        },
        suspended_ms: (suspended_ms > 0).then_some(suspended_ms),
        tasks_max: tasks_max.map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
        created_ms: row.int(5)?,
    })
}

async fn one(db: Session<'_>, id: &AccountId) -> Result<Option<AccountRead>, DbError> {
    let row = db.row(ONE, values![id.as_str()]).await?;
    row.as_ref().map(account).transpose()
}

/// An account as the audit log keeps it.
fn told(account: &AccountRead) -> Option<Value> {
    let is_suspended = account.suspended_ms.is_some();
    Some(json!({
        "name": account.name,
        "suspended": is_suspended,
        "concurrency_limit": account.tasks_max,
    }))
}

struct Change {
    id: AccountId,
    wish: AccountWish,
    act: Act,
    mark: String,
}

impl Operation for Change {
    type Answer = AccountChanged;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<AccountChanged, DbError> {
        let Some(before) = one(db, &self.id).await? else {
            return Ok(AccountChanged::Missing);
        };
        let mut after = before.clone();
        if let Some(name) = &self.wish.name {
            let values = values![name, self.id.as_str()];
            if db.row(IS_OTHERS, values).await?.is_some() {
                return Ok(AccountChanged::NameTaken);
            }
            after.name.clone_from(name);
        }
        after.suspended_ms = match self.wish.is_suspended {
            Some(true) => before.suspended_ms.or(Some(self.act.at_ms)),
            Some(false) => None,
            None => before.suspended_ms,
        };
        let suspended_ms = after.suspended_ms.unwrap_or(0);
        after.tasks_max = self.wish.tasks_max.unwrap_or(before.tasks_max);
        let tasks_max = after.tasks_max.map_or(UNLIMITED, i64::from);
        let values = values![&after.name, suspended_ms, tasks_max, self.id.as_str()];
        db.execute(CHANGE, values).await?;
        let line = Told {
            action: Action::AccountUpdate,
            account: Some(&self.id),
            subject: self.id.as_str(),
            before: told(&before),
            after: told(&after),
        };
        audit::record(db, &self.act, line).await?;
        Ok(AccountChanged::Yes(after))
    }

    fn mark(&self) -> Option<&str> {
        Some(&self.mark)
    }

    fn account(&self) -> Option<&str> {
        Some(self.id.as_str())
    }

    async fn is_recorded(
        &self,
        answer: &AccountChanged,
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        match answer {
            AccountChanged::Yes(_) => audit::is_recorded(db, &self.act).await.map(Some),
            AccountChanged::Missing | AccountChanged::NameTaken => Ok(None),
        }
    }
}

struct Credit {
    granting: Granting,
    order: CreditOrder,
    act: Act,
}

impl Operation for Credit {
    type Answer = Credited;

    async fn run(&self, tx: Tx<'_>) -> Result<Credited, DbError> {
        let db = tx.db;
        let (id, credits) = (&self.order.account, self.order.credits);
        if one(db, id).await?.is_none() {
            return Ok(Credited::Missing);
        }
        let granted = self.granting.run(tx).await?;
        match granted {
            Granted::Yes => self.tell(db).await?,
            Granted::Insufficient => return Ok(Credited::Insufficient),
            Granted::Before => {
                let entry = db.row(ENTRY, values![self.granting.entry()]).await?;
                let entry = entry.ok_or_else(|| DbError::Broken("an entry is gone".to_owned()))?;
                if entry.text(0)? != id.as_str() || entry.int(1)? != credits.0 {
                    return Ok(Credited::Reused);
                }
            }
        }
        let account = one(db, id).await?;
        let balance = account.map_or(Balance::default(), |account| account.balance);
        Ok(match granted {
            Granted::Before => Credited::Before(balance),
            Granted::Yes | Granted::Insufficient => Credited::Yes(balance),
        })
    }

    fn mark(&self) -> Option<&str> {
        self.granting.mark()
    }

    fn account(&self) -> Option<&str> {
        self.granting.account()
    }

    async fn is_recorded(
        &self,
        answer: &Credited,
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        match answer {
            Credited::Yes(_) => audit::is_recorded(db, &self.act).await.map(Some),
            _ => Ok(None),
        }
    }
}

impl Credit {
    async fn tell(&self, db: Session<'_>) -> Result<(), DbError> {
        let order = &self.order;
        let mut after = json!({
            "kind": order.kind.as_str(), "amount": order.credits, "reference": order.reference,
        });
        if let Some(note) = &order.note {
            after["note"] = json!(note);
        }
        let line = Told {
            action: Action::CreditsGrant,
            account: Some(&order.account),
            subject: self.granting.entry(),
            before: None,
            after: Some(after),
        };
        audit::record(db, &self.act, line).await
    }
}
