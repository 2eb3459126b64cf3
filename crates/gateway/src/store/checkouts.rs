//! Payment pages that we had Stripe open, and the credits that came of them.
//!
//! Invariant: credits are entered for a page that is recorded here, for the account it was opened
//! for, once. What Stripe's message says of accounts takes no part in it.

use domain::credits::Credits;
use domain::ids::AccountId;

use super::accounts::{Grant, Granted, Granting};
use super::committer::{Operation, Tx};
use super::db::{DbError, Row};
use super::{Store, StoreError};
use crate::values;

/// A payment page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Stripe's id of the session.
    pub id: String,
    /// Whom it was opened for.
    pub account: AccountId,
    /// What was asked for.
    pub credits: Credits,
}

const INSERT: &str = "INSERT INTO checkouts (id, account, amount, created_ms)
    VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";

const OWN: &str = "SELECT 1 FROM checkouts WHERE id = $1 AND account = $2";

const ONE: &str = "SELECT id, account, amount FROM checkouts WHERE id = $1";

const BY_PAYMENT: &str = "SELECT id, account, amount FROM checkouts WHERE payment = $1 LIMIT 1";

const PAID: &str = "UPDATE checkouts SET payment = $1 WHERE id = $2 AND payment IS NULL";

impl Store {
    /// Records a page before anybody can pay on it; the same again changes nothing. Answers whether
    /// it is this account's.
    ///
    /// # Errors
    /// The store is unavailable; nothing is recorded.
    pub async fn record_checkout(
        &self,
        checkout: Checkout,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(Record { checkout, now_ms }).await
    }

    /// A page by its id.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_checkout(&self, id: &str) -> Result<Option<Checkout>, StoreError> {
        let reader = self.reader().await?;
        let row = reader.session().row(ONE, values![id]).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// The page that a payment was made on.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_checkout_paid_by(
        &self,
        payment: &str,
    ) -> Result<Option<Checkout>, StoreError> {
        let reader = self.reader().await?;
        let row = reader.session().row(BY_PAYMENT, values![payment]).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// Enters what was paid on a page, once, and remembers the payment.
    ///
    /// # Errors
    /// `Duplicate` when the amount is not one that an entry can have; the store is unavailable.
    pub async fn any_pay_checkout(
        &self,
        checkout: &Checkout,
        credits: Credits,
        payment: Option<String>,
        now_ms: i64,
    ) -> Result<Granted, StoreError> {
        let account = &checkout.account;
        let id = checkout.id.clone();
        let granting = Granting::new(account, Grant::TopUp, credits, &id, now_ms)?;
        self.write(Pay {
            granting,
            id,
            payment,
        })
        .await
    }
}

fn read(row: &Row) -> Result<Checkout, DbError> {
    Ok(Checkout {
        id: row.text(0)?,
        account: AccountId(row.text(1)?),
        credits: Credits(row.int(2)?),
    })
}

struct Record {
    checkout: Checkout,
    now_ms: i64,
}

impl Operation for Record {
    type Answer = bool;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<bool, DbError> {
        let Checkout {
            id,
            account,
            credits,
        } = &self.checkout;
        let values = values![id, account.as_str(), credits.0, self.now_ms];
        if db.execute(INSERT, values).await? == 1 {
            return Ok(true);
        }
        let own = db.row(OWN, values![id, account.as_str()]).await?;
        Ok(own.is_some())
    }
}

struct Pay {
    granting: Granting,
    id: String,
    payment: Option<String>,
}

impl Operation for Pay {
    type Answer = Granted;

    async fn run(&self, tx: Tx<'_>) -> Result<Granted, DbError> {
        let db = tx.db;
        let granted = self.granting.run(tx).await?;
        if let Some(payment) = &self.payment
            && granted != Granted::Insufficient
        {
            db.execute(PAID, values![payment, &self.id]).await?;
        }
        Ok(granted)
    }

    fn mark(&self) -> Option<&str> {
        self.granting.mark()
    }

    fn account(&self) -> Option<&str> {
        self.granting.account()
    }
}
