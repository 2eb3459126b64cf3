//! The audit log: what operators did.
//!
//! Invariant: a line is written in the transaction of what it tells of, and never changed or removed.
//! Nothing that is secret is in it.

use domain::ids::{AccountId, AuditId, KeyId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::db::{DbError, Row, Session};
use super::{Store, StoreError, json, parse};
use crate::values;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// Whoever has a key.
    Key {
        /// The key.
        key: KeyId,
        /// The key's account.
        account: AccountId,
        /// Where the call came from, if that is known.
        ip: Option<String>,
        /// The call's id.
        request_id: String,
    },
    /// A command beside the database.
    Cli,
    /// The first start on a new database.
    Bootstrap,
}

/// The doing of something that is audited: by whom, when, and under which id it is found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub(super) id: AuditId,
    pub(super) actor: Actor,
    pub(super) at_ms: i64,
}

impl Act {
    /// Something that `actor` does at an instant, Unix milliseconds.
    #[must_use]
    pub fn new(actor: Actor, at_ms: i64, random: &[u8; 10]) -> Self {
        Self {
            id: AuditId::mint(at_ms, random),
            actor,
            at_ms,
        }
    }
}

/// What is audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// An account was made.
    AccountCreate,
    /// An account was renamed, suspended, let in again.
    AccountUpdate,
    /// A key was made.
    KeyCreate,
    /// A key was changed.
    KeyUpdate,
    /// A key was deleted.
    KeyDelete,
    /// Credits were given or taken.
    CreditsGrant,
    /// Submits were switched off or on.
    MaintenanceSet,
    /// Features, models or providers were switched off or on.
    FeaturesSet,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 8] = [
        Self::AccountCreate,
        Self::AccountUpdate,
        Self::KeyCreate,
        Self::KeyUpdate,
        Self::KeyDelete,
        Self::CreditsGrant,
        Self::MaintenanceSet,
        Self::FeaturesSet,
    ];

    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccountCreate => "account.create",
            Self::AccountUpdate => "account.update",
            Self::KeyCreate => "key.create",
            Self::KeyUpdate => "key.update",
            Self::KeyDelete => "key.delete",
            Self::CreditsGrant => "credits.grant",
            Self::MaintenanceSet => "maintenance.set",
            Self::FeaturesSet => "features.set",
        }
    }
}

/// What a line tells.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) action: Action,
    /// The account it was done to.
    pub(super) account: Option<&'a AccountId>,
    pub(super) subject: &'a str,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditLine {
    /// Its id.
    pub id: AuditId,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// What was done.
    pub action: String,
    /// The account it was done to.
    pub account: Option<AccountId>,
    /// The id of what was changed.
    pub subject: String,
    /// Who did it.
    pub actor: Actor,
    /// What was there before; nothing for what was made.
    pub before: Option<Value>,
    /// What is there since; nothing for what was deleted.
    pub after: Option<Value>,
}

/// Which lines to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only what was done to this account.
    pub account: Option<AccountId>,
    /// Only this action.
    pub action: Option<Action>,
    /// Only before this line.
    pub before: Option<AuditId>,
    /// At most so many.
    pub limit: i64,
}

#[derive(Serialize, Deserialize)]
struct Body {
    actor: Actor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

const INSERT: &str = "INSERT INTO audit (id, at_ms, action, account, subject, body)
    VALUES ($1, $2, $3, $4, $5, $6)";

const IS_THERE: &str = "SELECT 1 FROM audit WHERE id = $1";

const ALL: &str = "SELECT id, at_ms, action, account, subject, body FROM audit
    WHERE id < $1 ORDER BY id DESC LIMIT $2";

const OF_ACCOUNT: &str = "SELECT id, at_ms, action, account, subject, body FROM audit
    WHERE account = $1 AND id < $2 ORDER BY id DESC LIMIT $3";

const OF_ACTION: &str = "SELECT id, at_ms, action, account, subject, body FROM audit
    WHERE action = $1 AND id < $2 ORDER BY id DESC LIMIT $3";

const OF_BOTH: &str = "SELECT id, at_ms, action, account, subject, body FROM audit
    WHERE account = $1 AND action = $2 AND id < $3 ORDER BY id DESC LIMIT $4";

/// Behind every id.
const NEWEST: &str = "b";

impl Store {
    /// Lines of the audit log, newest first.
    ///
    /// # Errors
    /// The store is unavailable.
    pub async fn any_audit(&self, filter: &AuditFilter) -> Result<Vec<AuditLine>, StoreError> {
        let reader = self.reader().await?;
        let db = reader.session();
        let before = filter.before.as_ref().map_or(NEWEST, AuditId::as_str);
        let account = filter.account.as_ref().map(AccountId::as_str);
        let action = filter.action.map(Action::as_str);
        let limit = filter.limit;
        let rows = match (account, action) {
            (None, None) => db.rows(ALL, values![before, limit]).await,
            (Some(account), None) => db.rows(OF_ACCOUNT, values![account, before, limit]).await,
            (None, Some(action)) => db.rows(OF_ACTION, values![action, before, limit]).await,
            (Some(account), Some(action)) => {
                db.rows(OF_BOTH, values![account, action, before, limit])
                    .await
            }
        };
        let lines: Result<Vec<_>, _> = rows?.iter().map(line).collect();
        Ok(lines?)
    }
}

fn line(row: &Row) -> Result<AuditLine, DbError> {
    let body: Body = parse(row.str(5)?)?;
    let account = row.text(3)?;
    Ok(AuditLine {
        id: AuditId(row.text(0)?),
        at_ms: row.int(1)?,
        action: row.text(2)?,
        account: (!account.is_empty()).then_some(AccountId(account)),
        subject: row.text(4)?,
        actor: body.actor,
        before: body.before,
        after: body.after,
    })
}

/// Writes a line; in the transaction of what it tells of.
pub(super) async fn record(db: Session<'_>, act: &Act, told: Told<'_>) -> Result<(), DbError> {
    let body = json(&Body {
        actor: act.actor.clone(),
        before: told.before,
        after: told.after,
    })?;
    let values = values![
        act.id.as_str(),
        act.at_ms,
        told.action.as_str(),
        told.account.map_or("", AccountId::as_str),
        told.subject,
        &body,
    ];
    db.execute(INSERT, values).await.map(drop)
}

/// Whether the line of an act was committed, and with it what it tells of.
pub(super) async fn is_recorded(db: Session<'_>, act: &Act) -> Result<bool, DbError> {
    let found = db.row(IS_THERE, values![act.id.as_str()]).await?;
    Ok(found.is_some())
}
