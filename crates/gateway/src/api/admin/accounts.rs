//! Accounts of any tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::credits::Credits;
use domain::ids::AccountId;
use domain::key::{CREDITS_MAX, amount, name};
use domain::signing::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Account, flag, given, page};
use crate::api::body::Fields;
use crate::api::caller::{Admin, Caller, Trace};
use crate::api::query::Query;
use crate::api::refusals::{
    BadRequest, Invalid, NameTaken, NotFound, TooLarge, Unauthorized, Unavailable, Unchangeable,
};
use crate::api::{Api, ApiError};
use crate::clock::rfc3339;
use crate::store::StoreError;
use crate::store::accounts::NewAccount;
use crate::store::admin_accounts::{
    AccountChanged, AccountCounts, AccountRead, AccountWish, Place,
};

/// Largest limit of tasks at once; beyond it there is no point in one.
const CONCURRENCY_MAX: u32 = 1_000_000;

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account)]
pub(in crate::api) struct AccountView {
    /// Its id.
    #[schema(example = "acc_0a1b2c3d4e5f60718293")]
    id: String,
    /// Its name, unique.
    name: String,
    /// What it can spend now.
    #[schema(value_type = f64, example = 42.5)]
    credits: Credits,
    /// Held for tasks that are not finished.
    #[schema(value_type = f64, example = 0.35)]
    held: Credits,
    /// Whether its keys are refused.
    suspended: bool,
    /// Since when.
    suspended_at: Option<String>,
    /// How many of its tasks may be under way at once; null for as many as it likes. The others wait.
    concurrency_limit: Option<u32>,
    /// When it was made.
    created_at: String,
    /// What it has; only when one account is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<CountsView>,
}

/// How much an account has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountCounts)]
pub(in crate::api) struct CountsView {
    /// Keys, expired ones too.
    keys: i64,
    /// Tasks that wait for their turn, or for a place among those under way.
    tasks_queued: i64,
    /// Tasks under way.
    tasks_under_way: i64,
}

/// Some accounts.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct AccountList {
    /// The accounts, newest first.
    #[serde(rename = "data")]
    accounts: Vec<AccountView>,
    /// Gives the next page; null on the last one.
    next_cursor: Option<String>,
}

fn view(account: AccountRead, counts: Option<AccountCounts>) -> AccountView {
    AccountView {
        id: account.id.0,
        name: account.name,
        credits: account.balance.available(),
        held: account.balance.held,
        suspended: account.suspended_ms.is_some(),
        suspended_at: account.suspended_ms.map(rfc3339),
        concurrency_limit: account.tasks_max,
        created_at: rfc3339(account.created_ms),
        counts: counts.map(|counts| CountsView {
            keys: counts.keys,
            tasks_queued: counts.queued,
            tasks_under_way: counts.under_way,
        }),
    }
}

/// List accounts, newest first
#[utoipa::path(
    get, path = "/api/v1/admin/accounts", operation_id = "adminListAccounts", tag = "Admin", security(("key" = ["admin"])),
    params(
        ("name" = Option<String>, Query, description = "Only the account of exactly this name."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "At most so many; 20 unless given."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "The accounts.", body = AccountList), Unauthorized, Invalid, Unavailable)
)]
pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    _: Caller<Admin>,
    query: Query,
) -> Result<Json<AccountList>, ApiError> {
    let (limit, behind) = (page::limit(&query)?, page::place(&query)?);
    let (accounts, goes_on) = match query.text("name")? {
        Some(name) => {
            let found = api.store.any_account_by_name(name).await?;
            (found.into_iter().collect(), false)
        }
        None => {
            let accounts = api.store.any_accounts(behind.as_ref(), limit + 1).await?;
            page::cut(accounts, limit)
        }
    };
    let last = accounts.last().filter(|_| goes_on).map(|last| Place {
        created_ms: last.created_ms,
        id: last.id.0.clone(),
    });
    Ok(Json(AccountList {
        accounts: accounts.into_iter().map(|one| view(one, None)).collect(),
        next_cursor: last.as_ref().map(page::cursor),
    }))
}

/// Read an account
#[utoipa::path(
    get, path = "/api/v1/admin/accounts/{id}", operation_id = "adminReadAccount", tag = "Admin", security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The account.")),
    responses((status = 200, description = "The account.", body = AccountView), Unauthorized, NotFound, Unavailable)
)]
pub(in crate::api) async fn read(
    State(api): State<Arc<Api>>,
    _: Caller<Admin>,
    Account(id): Account,
) -> Result<Json<AccountView>, ApiError> {
    let found = api.store.account(&id).await?;
    let (account, counts) = found.ok_or_else(|| ApiError::not_found("account"))?;
    Ok(Json(view(account, Some(counts))))
}

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewAccount)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(in crate::api) struct AccountBody {
    /// 1 to 100 characters, unique.
    #[schema(example = "shop")]
    name: String,
    /// What it starts with; 0 unless given.
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    credits: Option<f64>,
}

/// Make an account
#[utoipa::path(
    post, path = "/api/v1/admin/accounts", operation_id = "adminCreateAccount", tag = "Admin", security(("key" = ["admin"])),
    request_body = AccountBody,
    responses((status = 200, description = "The account.", body = AccountView), BadRequest, Unauthorized, NameTaken, TooLarge, Invalid, Unavailable)
)]
pub(in crate::api) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    trace: Trace,
    Fields(body): Fields,
) -> Result<Json<AccountView>, ApiError> {
    let credits = given(&body, "credits");
    let credits = credits.map(|value| amount("credits", value, Credits::ZERO..=CREDITS_MAX));
    let account = NewAccount {
        id: AccountId::mint(&api.entropy.bytes()),
        name: name("name", body.get("name").unwrap_or(&Value::Null))?,
        credits: credits.transpose()?.unwrap_or_default(),
        secret: Secret::mint(&api.entropy.bytes()),
        key: None,
    };
    let act = api.act(&caller.0, trace);
    let (id, is_new) = api.store.any_make_account(account, act).await?;
    if !is_new {
        return Err(name_taken());
    }
    let found = api.store.account(&id).await?;
    let (account, _) = found.ok_or_else(|| ApiError::internal("a new account is gone"))?;
    Ok(Json(view(account, None)))
}

fn name_taken() -> ApiError {
    ApiError::conflict("Another account has this name.").about("name")
}

/// What shall be other about an account. What is not named stays.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AccountChange)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(in crate::api) struct ChangeBody {
    /// 1 to 100 characters, unique.
    name: Option<String>,
    /// Whether its keys are refused. Its tasks go on.
    suspended: Option<bool>,
    /// How many of its tasks may be under way at once, 1 to 1,000,000; null for as many as it likes.
    #[schema(minimum = 1, maximum = 1_000_000)]
    concurrency_limit: Option<u32>,
}

/// Rename an account, suspend or limit it, or let it in again
///
/// At once on every node. Tasks of a suspended account finish, and their callbacks are delivered.
#[utoipa::path(
    put, path = "/api/v1/admin/accounts/{id}", operation_id = "adminUpdateAccount", tag = "Admin", security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The account.")),
    request_body = ChangeBody,
    responses((status = 200, description = "The account.", body = AccountView), BadRequest, Unauthorized, NotFound, Unchangeable, TooLarge, Invalid, Unavailable)
)]
pub(in crate::api) async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    trace: Trace,
    Account(id): Account,
    Fields(body): Fields,
) -> Result<Json<AccountView>, ApiError> {
    let new = body.get("name").map(|value| name("name", value));
    let wish = AccountWish {
        name: new.transpose()?,
        is_suspended: flag(&body, "suspended")?,
        tasks_max: concurrency_limit(&body)?,
    };
    if wish.is_suspended == Some(true) && id == caller.0.account {
        let message = "Your own account cannot be suspended: nobody might be left to let it in.";
        return Err(ApiError::conflict(message).about("suspended"));
    }
    let act = api.act(&caller.0, trace);
    match api.store.change_account(&id, wish, act).await {
        Ok(AccountChanged::Yes(account)) => {
            // A raised limit has places at once. The change is recorded whatever becomes of that, and
            // a sweep lets in what this leaves.
            if let Err(error) = api.store.any_let_in(api.clock.now_ms()).await {
                tracing::warn!(%error, "parked tasks are let in later");
            }
            Ok(Json(view(account, None)))
        }
        Ok(AccountChanged::Missing) => Err(ApiError::not_found("account")),
        Ok(AccountChanged::NameTaken) | Err(StoreError::Duplicate(_)) => Err(name_taken()),
        Err(error) => Err(error.into()),
    }
}

/// How many tasks may be under way at once: not named, none, or a number.
fn concurrency_limit(body: &Value) -> Result<Option<Option<u32>>, ApiError> {
    let name = "concurrency_limit";
    let Some(value) = body.get(name) else {
        return Ok(None);
    };
    if value.is_null() {
        return Ok(Some(None));
    }
    let limit = value.as_u64().and_then(|limit| u32::try_from(limit).ok());
    let limit = limit.filter(|limit| (1..=CONCURRENCY_MAX).contains(limit));
    let limit = limit.ok_or_else(|| {
        let message = format!("must be an integer between 1 and {CONCURRENCY_MAX}, or null");
        ApiError::invalid(name, &message).allowing(json!({ "min": 1, "max": CONCURRENCY_MAX }))
    })?;
    Ok(Some(Some(limit)))
}
