//! The secrets that sign an account's callbacks.

use domain::ids::AccountId;
use domain::signing::Secret;
use serde::{Deserialize, Serialize};

use super::committer::{Operation, Tx};
use super::db::DbError;
use super::{Store, StoreError, json, parse};
use crate::values;

/// How long the old secret goes on signing after a rotation, in milliseconds.
pub const ROTATION_MS: i64 = 86_400_000;

/// What is kept of an account beside its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    /// `whsec_…`
    secret: String,
    /// The one before, until it is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<OldSecret>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OldSecret {
    secret: String,
    until_ms: i64,
}

const BODY: &str = "SELECT body FROM accounts WHERE id = $1";

const REPLACE: &str = "UPDATE accounts SET body = $1 WHERE id = $2 AND body = $3";

impl Store {
    /// The secrets that sign an account's callbacks, newest first.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn callback_secrets(
        &self,
        account: &AccountId,
        now_ms: i64,
    ) -> Result<Vec<Secret>, StoreError> {
        let reader = self.reader().await?;
        let row = reader
            .session()
            .row(BODY, values![account.as_str()])
            .await?;
        let Some(row) = row else {
            return Ok(Vec::new());
        };
        let body: Body = parse(row.str(0)?)?;
        let old = body.old.filter(|old| old.until_ms > now_ms);
        let texts = std::iter::once(body.secret).chain(old.map(|old| old.secret));
        Ok(texts.filter_map(|text| Secret::parse(&text)).collect())
    }

    /// Signs with another secret from now on; the old one goes on signing for a day.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn rotate_callback_secret(
        &self,
        account: &AccountId,
        secret: Secret,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let account = account.clone();
        self.write(Rotate {
            account,
            secret,
            now_ms,
        })
        .await
    }
}

/// What is kept of a new account.
pub(super) fn body(secret: &Secret) -> Result<String, DbError> {
    json(&Body {
        secret: secret.reveal(),
        old: None,
    })
}

struct Rotate {
    account: AccountId,
    secret: Secret,
    now_ms: i64,
}

impl Operation for Rotate {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        let account = self.account.as_str();
        let row = db.row(BODY, values![account]).await?;
        let before = row
            .ok_or_else(|| DbError::Broken("the account is gone".to_owned()))?
            .text(0)?;
        let body: Body = parse(&before)?;
        let after = json(&Body {
            secret: self.secret.reveal(),
            old: Some(OldSecret {
                secret: body.secret,
                until_ms: self.now_ms.saturating_add(ROTATION_MS),
            }),
        })?;
        if db
            .execute(REPLACE, values![&after, account, &before])
            .await?
            == 0
        {
            return Err(DbError::Conflict("another rotation came first".to_owned()));
        }
        Ok(())
    }

    fn mark(&self) -> Option<&str> {
        Some(self.account.as_str())
    }

    fn account(&self) -> Option<&str> {
        Some(self.account.as_str())
    }
}
