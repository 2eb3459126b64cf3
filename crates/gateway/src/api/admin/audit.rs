//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::ids::{AccountId, AuditId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{page, word};
use crate::api::caller::{Admin, Caller};
use crate::api::query::Query;
use crate::api::refusals::{Invalid, Unauthorized, Unavailable};
use crate::api::{Api, ApiError};
use crate::clock::rfc3339;
use crate::store::audit::{Action, Actor, AuditFilter, AuditLine};

/// A line of the audit log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditLine)]
pub(in crate::api) struct AuditView {
    /// Its id.
    id: String,
    /// When.
    at: String,
    /// What was done: `account.create`, `account.update`, `key.create`, `key.update`, `key.delete`,
    /// `credits.grant`, `maintenance.set` or `features.set`.
    action: String,
    /// The account it was done to.
    account: Option<String>,
    /// The id of what was changed.
    subject: String,
    /// Who did it.
    actor: ActorView,
    /// What was there before; null for what was made.
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// What is there since; null for what was deleted.
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
}

/// Who did it.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Actor)]
pub(in crate::api) struct ActorView {
    /// `key` for a call; `cli` for a command beside the database; `bootstrap` for the first start.
    kind: &'static str,
    /// The key the call came with.
    key: Option<String>,
    /// The key's account.
    account: Option<String>,
    /// Where the call came from, if that is known.
    ip: Option<String>,
    /// The call's `X-Request-Id`.
    request_id: Option<String>,
}

/// Some lines.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct AuditList {
    /// The lines, newest first.
    #[serde(rename = "data")]
    lines: Vec<AuditView>,
    /// Gives the next page; null on the last one.
    next_cursor: Option<String>,
}

fn actor(actor: Actor) -> ActorView {
    match actor {
        Actor::Key {
            key,
            account,
            ip,
            request_id,
        } => ActorView {
            kind: "key",
            key: Some(key.0),
            account: Some(account.0),
            ip,
            request_id: Some(request_id),
        },
        Actor::Cli => ActorView {
            kind: "cli",
            ..ActorView::default()
        },
        Actor::Bootstrap => ActorView {
            kind: "bootstrap",
            ..ActorView::default()
        },
    }
}

fn view(line: AuditLine) -> AuditView {
    AuditView {
        id: line.id.0,
        at: rfc3339(line.at_ms),
        action: line.action,
        account: line.account.map(|account| account.0),
        subject: line.subject,
        actor: actor(line.actor),
        before: line.before,
        after: line.after,
    }
}

/// List what was done, newest first
///
/// Every change an operator made, by a call or a command. Nothing removes a line.
#[utoipa::path(
    get, path = "/api/v1/admin/audit", operation_id = "adminListAudit", tag = "Admin", security(("key" = ["admin"])),
    params(
        ("account" = Option<String>, Query, description = "Only what was done to this account."),
        ("action" = Option<String>, Query, description = "Only this action."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "At most so many; 20 unless given."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "The lines.", body = AuditList), Unauthorized, Invalid, Unavailable)
)]
pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    _: Caller<Admin>,
    query: Query,
) -> Result<Json<AuditList>, ApiError> {
    let limit = page::limit(&query)?;
    let id = |name: &'static str, message: &str| {
        let text = query.text(name)?.map(str::to_owned);
        let id = text.map(|text| word(text, name).map_err(|_| ApiError::invalid(name, message)));
        id.transpose()
    };
    let cursor = id("cursor", "must be the `next_cursor` of another page")?;
    let filter = AuditFilter {
        account: id("account", "must be the id of an account")?.map(AccountId),
        action: query.word("action", &Action::ALL, Action::as_str)?,
        before: cursor.map(AuditId),
        limit: limit + 1,
    };
    let lines = api.store.any_audit(&filter).await?;
    let (lines, goes_on) = page::cut(lines, limit);
    let last = lines.last().filter(|_| goes_on);
    Ok(Json(AuditList {
        next_cursor: last.map(|last| last.id.0.clone()),
        lines: lines.into_iter().map(view).collect(),
    }))
}
