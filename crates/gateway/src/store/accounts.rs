//! Accounts: who owns keys, tasks and credits; their balance.

use domain::credits::Credits;
use domain::ids::AccountId;
use domain::key::{self, ApiKey};
use domain::ledger::Balance;
use domain::signing::Secret;
use serde_json::json;

use super::audit::{self, Act, Action, Told};
use super::committer::{Operation, Tx};
use super::db::{DbError, Session};
use super::{Store, StoreError, callback_secrets, keys};
use crate::values;

/// The largest amount of one grant, and of what an account can have: far beyond any real one, and far
/// enough from 64 bits that no sum overflows.
const CREDITS_MAX: i64 = 1_000_000_000_000_000_000;

/// An account to be made if it is new.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its id if it is new.
    pub id: AccountId,
    /// Its name, unique.
    pub name: String,
    /// What it starts with if it is new.
    pub credits: Credits,
    /// The secret of its callbacks if it is new.
    pub secret: Secret,
    /// Its first key if it is new; made with it or not at all.
    pub key: Option<(ApiKey, key::Grant)>,
}

/// Where credits come from; the ledger's kind of entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// Bought or given.
    TopUp,
    /// A correction, either way.
    Adjust,
}

impl Grant {
    /// The word in the ledger and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Adjust => "adjust",
        }
    }
}

/// What came of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// Entered.
    Yes,
    /// An entry of this kind has the reference already; nothing changed.
    Before,
    /// The held credits would not be covered any more; nothing changed.
    Insufficient,
}

const BY_NAME: &str = "SELECT id FROM accounts WHERE name = $1";

const INSERT: &str = "INSERT INTO accounts (id, name, posted, held, created_ms, body)
    VALUES ($1, $2, $3, 0, $4, $5) ON CONFLICT (name) DO NOTHING";

const ENTRY: &str = "INSERT INTO entries (id, account, kind, task, amount, created_ms)
    VALUES ($1, $2, $3, NULL, $4, $5) ON CONFLICT (id) DO NOTHING";

const UNENTER: &str = "DELETE FROM entries WHERE id = $1";

const POST: &str = "UPDATE accounts SET posted = posted + $1
    WHERE id = $2 AND posted + $1 >= held AND posted + $1 <= 1000000000000000000";

const BALANCE: &str = "SELECT posted, held FROM accounts WHERE id = $1";

const COUNT: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM accounts";

impl Store {
    /// The account of a name, made if it is new; and whether it is.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_account(
        &self,
        account: NewAccount,
        now_ms: i64,
    ) -> Result<(AccountId, bool), StoreError> {
        let act = None;
        self.write(Ensure {
            account,
            now_ms,
            act,
        })
        .await
    }

    /// The same by someone whose doing is audited if the account is made.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_make_account(
        &self,
        account: NewAccount,
        act: Act,
    ) -> Result<(AccountId, bool), StoreError> {
        self.write(Ensure {
            account,
            now_ms: act.at_ms,
            act: Some(act),
        })
        .await
    }

    /// How many accounts there are.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_account_count(&self) -> Result<i64, StoreError> {
        let reader = self.reader().await?;
        let row = reader.session().row(COUNT, &[]).await?;
        Ok(row.map_or(Ok(0), |row| row.int(0))?)
    }

    /// What an account has; nothing for an unknown one.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn balance(&self, account: &AccountId) -> Result<Balance, StoreError> {
        let reader = self.reader().await?;
        let row = reader
            .session()
            .row(BALANCE, values![account.as_str()])
            .await?;
        let Some(row) = row else {
            return Ok(Balance::default());
        };
        Ok(Balance {
            posted: Credits(row.int(0)?),
            held: Credits(row.int(1)?),
        })
    }

    /// Enters credits once for a reference.
    ///
    /// # Errors
    /// `Duplicate` when the amount is not one that such an entry can have; the store is unavailable.
    pub async fn grant(
        &self,
        account: &AccountId,
        grant: Grant,
        credits: Credits,
        reference: &str,
        now_ms: i64,
    ) -> Result<Granted, StoreError> {
        let granting = Granting::new(account, grant, credits, reference, now_ms)?;
        self.write(granting).await
    }
}

struct Ensure {
    account: NewAccount,
    now_ms: i64,
    act: Option<Act>,
}

impl Operation for Ensure {
    type Answer = (AccountId, bool);

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(AccountId, bool), DbError> {
        let NewAccount {
            id,
            name,
            credits,
            secret,
            key,
        } = &self.account;
        let body = callback_secrets::body(secret)?;
        let values = values![id.as_str(), name, credits.0, self.now_ms, &body];
        if db.execute(INSERT, values).await? == 0 {
            let row = db.row(BY_NAME, values![name]).await?;
            let found = row.ok_or_else(|| DbError::Conflict("the account is gone".to_owned()))?;
            return Ok((AccountId(found.text(0)?), false));
        }
        if credits.0 > 0 {
            let entry = format!("top_up:{id}");
            let values = values![&entry, id.as_str(), "top_up", credits.0, self.now_ms];
            db.execute(ENTRY, values).await?;
        }
        if let Some((key, grant)) = key {
            keys::insert(db, id, key, grant, self.now_ms).await?;
        }
        self.tell(db).await?;
        Ok((id.clone(), true))
    }

    async fn is_recorded(
        &self,
        (_, is_new): &(AccountId, bool),
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        match &self.act {
            Some(act) if *is_new => audit::is_recorded(db, act).await.map(Some),
            _ => Ok(None),
        }
    }
}

impl Ensure {
    async fn tell(&self, db: Session<'_>) -> Result<(), DbError> {
        let Some(act) = &self.act else {
            return Ok(());
        };
        let NewAccount {
            id,
            name,
            credits,
            key,
            ..
        } = &self.account;
        let mut after = json!({ "name": name, "credits": credits });
        if let Some((key, grant)) = key {
            after["key"] = json!({ "id": key.id(), "scopes": grant.scopes });
        }
        let line = Told {
            action: Action::AccountCreate,
            account: Some(id),
            subject: id.as_str(),
            before: None,
            after: Some(after),
        };
        audit::record(db, act, line).await
    }
}

/// The entering of credits, once for a reference.
pub(super) struct Granting {
    entry: String,
    account: AccountId,
    grant: Grant,
    credits: Credits,
    now_ms: i64,
}

impl Granting {
    pub(super) fn new(
        account: &AccountId,
        grant: Grant,
        credits: Credits,
        reference: &str,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let least = match grant {
            Grant::TopUp => 1,
            Grant::Adjust => -CREDITS_MAX,
        };
        if !(least..=CREDITS_MAX).contains(&credits.0) {
            let message = "the amount is out of range";
            return Err(StoreError::Duplicate(message.to_owned()));
        }
        Ok(Self {
            entry: format!("{}:{reference}", grant.as_str()),
            account: account.clone(),
            grant,
            credits,
            now_ms,
        })
    }

    /// The id of the entry.
    pub(super) fn entry(&self) -> &str {
        &self.entry
    }
}

impl Operation for Granting {
    type Answer = Granted;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Granted, DbError> {
        let account = self.account.as_str();
        let entry = values![
            &self.entry,
            account,
            self.grant.as_str(),
            self.credits.0,
            self.now_ms
        ];
        if db.execute(ENTRY, entry).await? == 0 {
            return Ok(Granted::Before);
        }
        if db.execute(POST, values![self.credits.0, account]).await? == 0 {
            db.execute(UNENTER, values![&self.entry]).await?;
            return Ok(Granted::Insufficient);
        }
        Ok(Granted::Yes)
    }

    fn mark(&self) -> Option<&str> {
        Some(&self.entry)
    }

    fn account(&self) -> Option<&str> {
        Some(self.account.as_str())
    }
}
