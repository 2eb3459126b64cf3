//! Keys made, changed and deleted by others.
//!
//! Invariant: whoever asks is judged by what it may do at that moment, in the transaction that does
//! it. What a key with the scope `admin` or a command does is audited there.

use domain::ids::{AccountId, KeyId};
use domain::key::{ApiKey, Authority, Denied, Grant, Scope, Wish};
use domain::order::Invalid;
use serde_json::{Value, json};

use super::audit::{self, Act, Action, Actor, Told};
use super::committer::{Operation, Tx};
use super::db::{DbError, Session};
use super::keys::KeyRead;
use super::{Store, StoreError, json, parse};
use crate::clock::rfc3339;
use crate::values;

/// Most keys of an account.
pub const KEYS_MAX: i64 = 1_000;

/// Who asks, and by which right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// A key, for the keys of its own account.
    Account,
    /// A key or a command, for the keys of any account.
    Operator,
}

/// Keys of an account that somebody wants to change.
#[derive(Debug, Clone)]
pub struct KeyOrder {
    /// Whose keys.
    pub account: AccountId,
    /// By which right.
    pub right: Right,
    /// Who asks.
    pub act: Act,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyChanged<T> {
    /// It is done.
    Yes(T),
    /// There is no such account or key.
    Missing,
    /// The account has as many keys as it may have.
    Full,
    /// The key would have more than whoever asks for it.
    Refused(Invalid),
    /// Whoever asks is deleted, expired, suspended, or has not the scope.
    Unauthorized,
}

const ASKING: &str = "SELECT k.body FROM api_keys k JOIN accounts a ON a.id = k.account
    WHERE k.id = $1 AND k.expires_ms > $2 AND a.suspended_ms = 0";

const ACCOUNT: &str = "SELECT 1 FROM accounts WHERE id = $1";

const INSERT: &str = "INSERT INTO api_keys (id, account, hash, created_ms, expires_ms, body)
    SELECT CAST($1 AS TEXT), a.id, CAST($2 AS TEXT), CAST($3 AS BIGINT), CAST($4 AS BIGINT),
        CAST($5 AS TEXT)
    FROM accounts a WHERE a.id = $6
        AND (SELECT CAST(COUNT(*) AS BIGINT) FROM api_keys k WHERE k.account = a.id) < $7";

const IS_THERE: &str = "SELECT 1 FROM api_keys WHERE id = $1";

const ONE: &str = "SELECT body, created_ms FROM api_keys WHERE id = $1 AND account = $2";

// Only what was judged is replaced.
const REPLACE: &str = "UPDATE api_keys SET body = $1, expires_ms = $2
    WHERE id = $3 AND account = $4 AND body = $5";

const DELETE: &str = "DELETE FROM api_keys WHERE id = $1 AND account = $2 AND body = $3";

const FORGET: &str = "DELETE FROM meters WHERE key = $1";

impl Store {
    /// Makes a key.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn make_key(
        &self,
        order: KeyOrder,
        key: ApiKey,
        grant: Grant,
    ) -> Result<KeyChanged<KeyRead>, StoreError> {
        let place = Place::new(order);
        self.write(Make { place, key, grant }).await
    }

    /// Changes some of what a key may do, at once on every node.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn change_key(
        &self,
        order: KeyOrder,
        id: KeyId,
        wish: Wish,
    ) -> Result<KeyChanged<KeyRead>, StoreError> {
        let place = Place::new(order);
        self.write(Change { place, id, wish }).await
    }

    /// Deletes a key; from then on no node admits anything with it.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn delete_key(
        &self,
        order: KeyOrder,
        id: KeyId,
    ) -> Result<KeyChanged<()>, StoreError> {
        let place = Place::new(order);
        self.write(Delete { place, id }).await
    }
}

/// What a key may do, as the audit log keeps it: in the words of the API.
fn told(grant: &Grant) -> Option<Value> {
    let mut told = json!(grant);
    if let Some(end_ms) = told.as_object_mut()?.remove("expires_ms") {
        told["expires_at"] = json!(end_ms.as_i64().map(rfc3339));
    }
    Some(told)
}

/// Where keys are changed: one account's, one change after another.
struct Place {
    order: KeyOrder,
    mark: String,
}

/// Why nothing is changed, as any answer.
enum Not {
    Refused(Invalid),
    Unauthorized,
}

impl<T> From<Not> for KeyChanged<T> {
    fn from(not: Not) -> Self {
        match not {
            Not::Refused(invalid) => Self::Refused(invalid),
            Not::Unauthorized => Self::Unauthorized,
        }
    }
}

/// A change of a key that may be made.
struct Allowed {
    is_audited: bool,
}

impl Place {
    fn new(order: KeyOrder) -> Self {
        let mark = format!("keys:{}", order.account);
        Self { order, mark }
    }

    /// Whether a key may change from `before` to `after`, by what whoever asks may do now.
    async fn judge(
        &self,
        db: Session<'_>,
        id: &KeyId,
        before: Option<&Grant>,
        after: Option<&Grant>,
    ) -> Result<Result<Allowed, Not>, DbError> {
        let act = &self.order.act;
        let Actor::Key { key, .. } = &act.actor else {
            return Ok(Ok(Allowed { is_audited: true }));
        };
        let Some(row) = db.row(ASKING, values![key.as_str(), act.at_ms]).await? else {
            return Ok(Err(Not::Unauthorized));
        };
        let own: Grant = parse(row.str(0)?)?;
        let authority = match self.order.right {
            _ if key == id => Authority::Itself(&own),
            Right::Account => Authority::Account(&own),
            Right::Operator => Authority::Operator(&own),
        };
        let is_audited = own.has(Scope::Admin);
        Ok(match authority.check(before, after) {
            Ok(()) => Ok(Allowed { is_audited }),
            Err(Denied::Scope) => Err(Not::Unauthorized),
            Err(Denied::Excess(invalid)) => Err(Not::Refused(invalid)),
        })
    }

    async fn one(&self, db: Session<'_>, id: &KeyId) -> Result<Option<(String, i64)>, DbError> {
        let values = values![id.as_str(), self.order.account.as_str()];
        match db.row(ONE, values).await? {
            Some(row) => Ok(Some((row.text(0)?, row.int(1)?))),
            None => Ok(None),
        }
    }

    async fn audit(
        &self,
        db: Session<'_>,
        allowed: &Allowed,
        told: Told<'_>,
    ) -> Result<(), DbError> {
        if !allowed.is_audited {
            return Ok(());
        }
        let account = Some(&self.order.account);
        audit::record(db, &self.order.act, Told { account, ..told }).await
    }
}

struct Make {
    place: Place,
    key: ApiKey,
    grant: Grant,
}

impl Operation for Make {
    type Answer = KeyChanged<KeyRead>;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Self::Answer, DbError> {
        let KeyOrder { account, act, .. } = &self.place.order;
        let (id, grant) = (self.key.id(), &self.grant);
        let judged = self.place.judge(db, id, None, Some(grant)).await?;
        let allowed = match judged {
            Ok(allowed) => allowed,
            Err(not) => return Ok(not.into()),
        };
        let (hash, body) = (self.key.hash(), json(grant)?);
        let expires_ms = grant.expires_ms.unwrap_or(i64::MAX);
        let values = values![
            id.as_str(),
            &hash,
            act.at_ms,
            expires_ms,
            &body,
            account.as_str(),
            KEYS_MAX,
        ];
        if db.execute(INSERT, values).await? == 0 {
            let found = db.row(ACCOUNT, values![account.as_str()]).await?;
            return Ok(found.map_or(KeyChanged::Missing, |_| KeyChanged::Full));
        }
        let line = Told {
            action: Action::KeyCreate,
            account: None,
            subject: id.as_str(),
            before: None,
            after: told(grant),
        };
        self.place.audit(db, &allowed, line).await?;
        Ok(KeyChanged::Yes(KeyRead {
            id: id.clone(),
            grant: grant.clone(),
            created_ms: act.at_ms,
        }))
    }

    fn mark(&self) -> Option<&str> {
        Some(&self.place.mark)
    }

    fn account(&self) -> Option<&str> {
        Some(self.place.order.account.as_str())
    }

    async fn is_recorded(
        &self,
        answer: &Self::Answer,
        db: Session<'_>,
    ) -> Result<Option<bool>, DbError> {
        let KeyChanged::Yes(made) = answer else {
            return Ok(None);
        };
        let found = db.row(IS_THERE, values![made.id.as_str()]).await?;
        Ok(Some(found.is_some()))
    }
}

struct Change {
    place: Place,
    id: KeyId,
    wish: Wish,
}

impl Operation for Change {
    type Answer = KeyChanged<KeyRead>;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Self::Answer, DbError> {
        let Some((before, created_ms)) = self.place.one(db, &self.id).await? else {
            return Ok(KeyChanged::Missing);
        };
        let old: Grant = parse(&before)?;
        let grant = match self.wish.of_changed(&old) {
            Ok(grant) => grant,
            Err(invalid) => return Ok(KeyChanged::Refused(invalid)),
        };
        let judged = self.place.judge(db, &self.id, Some(&old), Some(&grant));
        let allowed = match judged.await? {
            Ok(allowed) => allowed,
            Err(not) => return Ok(not.into()),
        };
        let (id, account) = (self.id.as_str(), self.place.order.account.as_str());
        let (after, expires_ms) = (json(&grant)?, grant.expires_ms.unwrap_or(i64::MAX));
        let values = values![&after, expires_ms, id, account, &before];
        if db.execute(REPLACE, values).await? == 0 {
            return Err(DbError::Conflict("another change came first".to_owned()));
        }
        let line = Told {
            action: Action::KeyUpdate,
            account: None,
            subject: id,
            before: told(&old),
            after: told(&grant),
        };
        self.place.audit(db, &allowed, line).await?;
        Ok(KeyChanged::Yes(KeyRead {
            id: self.id.clone(),
            grant,
            created_ms,
        }))
    }

    fn mark(&self) -> Option<&str> {
        Some(&self.place.mark)
    }

    fn account(&self) -> Option<&str> {
        Some(self.place.order.account.as_str())
    }
}

struct Delete {
    place: Place,
    id: KeyId,
}

impl Operation for Delete {
    type Answer = KeyChanged<()>;

    async fn run(&self, Tx { db, .. }: Tx<'_>) -> Result<Self::Answer, DbError> {
        let Some((before, _)) = self.place.one(db, &self.id).await? else {
            return Ok(KeyChanged::Missing);
        };
        let old: Grant = parse(&before)?;
        let judged = self.place.judge(db, &self.id, Some(&old), None).await?;
        let allowed = match judged {
            Ok(allowed) => allowed,
            Err(not) => return Ok(not.into()),
        };
        let (id, account) = (self.id.as_str(), self.place.order.account.as_str());
        if db.execute(DELETE, values![id, account, &before]).await? == 0 {
            return Err(DbError::Conflict("another change came first".to_owned()));
        }
        db.execute(FORGET, values![id]).await?;
        let line = Told {
            action: Action::KeyDelete,
            account: None,
            subject: id,
            before: told(&old),
            after: None,
        };
        self.place.audit(db, &allowed, line).await?;
        Ok(KeyChanged::Yes(()))
    }

    fn mark(&self) -> Option<&str> {
        Some(&self.place.mark)
    }

    fn account(&self) -> Option<&str> {
        Some(self.place.order.account.as_str())
    }
}
