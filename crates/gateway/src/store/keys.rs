//! API keys: recorded, listed, recognised.

use domain::ids::{AccountId, KeyId};
use domain::key::{ApiKey, Grant};

use super::admin_accounts::Place;
use super::committer::{Operation, Tx};
use super::db::{DbError, Row, Session};
use super::keyring::Seen;
use super::{Store, StoreError, json, parse};
use crate::values;

/// Who makes a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub account: AccountId,
    /// The key it came with.
    pub key: KeyId,
    /// What the key may do.
    pub grant: Grant,
}

/// A key as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRead {
    /// Its id.
    pub id: KeyId,
    /// What it may do.
    pub grant: Grant,
    /// When it was made, Unix milliseconds.
    pub created_ms: i64,
}

const INSERT: &str = "INSERT INTO api_keys (id, account, hash, created_ms, expires_ms, body)
    VALUES ($1, $2, $3, $4, $5, $6)";

const KEY: &str = "SELECT k.account, k.hash, k.body FROM api_keys k
    JOIN accounts a ON a.id = k.account
    WHERE k.id = $1 AND k.expires_ms > $2 AND a.suspended_ms = 0";

const LIST: &str = "SELECT id, body, created_ms FROM api_keys
    WHERE account = $1 AND (created_ms, id) > ($2, $3) ORDER BY created_ms, id LIMIT $4";

impl Store {
    /// Records a key of an account.
    ///
    /// # Errors
    /// `Duplicate` when its public id is taken; the store is unavailable.
    pub async fn create_key(
        &self,
        account: &AccountId,
        key: &ApiKey,
        grant: Grant,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.write(Create {
            account: account.clone(),
            key: key.clone(),
            grant,
            now_ms,
        })
        .await
    }

    /// Who a key stands for; nobody when it is unknown, wrong, deleted or expired, or
    /// its account suspended.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn authenticate(
        &self,
        key: &ApiKey,
        now_ms: i64,
    ) -> Result<Option<Principal>, StoreError> {
        let reader = self.reader().await?;
        let found = read(reader.session(), key, now_ms).await?;
        Ok(found.map(|found| found.principal))
    }

    /// The keys of an account, oldest first.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn keys(&self, account: &AccountId) -> Result<Vec<KeyRead>, StoreError> {
        self.keys_behind(account, None, i64::MAX).await
    }

    /// The same, some of them, behind a place.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn keys_behind(
        &self,
        account: &AccountId,
        behind: Option<&Place>,
        limit: i64,
    ) -> Result<Vec<KeyRead>, StoreError> {
        let reader = self.reader().await?;
        let (ms, id) = behind.map_or((i64::MIN, ""), |place| {
            (place.created_ms, place.id.as_str())
        });
        let values = values![account.as_str(), ms, id, limit];
        let rows = reader.session().rows(LIST, values).await?;
        let read = |row: Row| -> Result<KeyRead, DbError> {
            Ok(KeyRead {
                id: KeyId(row.text(0)?),
                grant: parse(row.str(1)?)?,
                created_ms: row.int(2)?,
            })
        };
        let keys: Result<Vec<_>, _> = rows.into_iter().map(read).collect();
        Ok(keys?)
    }
}

/// A key as it was found.
pub(super) struct Found {
    pub(super) principal: Principal,
    pub(super) seen: Seen,
}

/// Finds a key that lives and is the one that was given.
pub(super) async fn read(
    db: Session<'_>,
    key: &ApiKey,
    now_ms: i64,
) -> Result<Option<Found>, DbError> {
    let id = key.id();
    let Some(row) = db.row(KEY, values![id.as_str(), now_ms]).await? else {
        return Ok(None);
    };
    let (account, hash, grant) = (row.text(0)?, row.text(1)?, row.text(2)?);
    if !key.matches(&hash) {
        return Ok(None);
    }
    let principal = Principal {
        account: AccountId(account),
        key: id.clone(),
        grant: parse(&grant)?,
    };
    let seen = Seen { hash, grant };
    Ok(Some(Found { principal, seen }))
}

/// Records a key; in the transaction of whoever calls.
pub(super) async fn insert(
    db: Session<'_>,
    account: &AccountId,
    key: &ApiKey,
    grant: &Grant,
    now_ms: i64,
) -> Result<(), DbError> {
    let (id, hash, body) = (key.id(), key.hash(), json(grant)?);
    let values = values![
        id.as_str(),
        account.as_str(),
        &hash,
        now_ms,
        grant.expires_ms.unwrap_or(i64::MAX),
        &body,
    ];
    db.execute(INSERT, values).await.map(drop)
}

struct Create {
    account: AccountId,
    key: ApiKey,
    grant: Grant,
    now_ms: i64,
}

impl Operation for Create {
    type Answer = ();

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<(), DbError> {
        insert(db, &self.account, &self.key, &self.grant, self.now_ms).await
    }
}
