//! Keys of any account.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use domain::ids::AccountId;
use domain::key::{Grant, Wish};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Account, AccountKey, page};
use crate::api::body::Fields;
use crate::api::caller::{Admin, Caller, Trace};
use crate::api::keys::{ChangeBody, Deleted, KeyBody, KeyView, made, settled, view};
use crate::api::query::Query;
use crate::api::refusals::{
    BadRequest, Full, Invalid, NotFound, TooLarge, Unauthorized, Unavailable,
};
use crate::api::{Api, ApiError};
use crate::store::admin_accounts::Place;
use crate::store::key_changes::{KeyOrder, Right};
use crate::store::keys::Principal;

/// Some keys of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct KeyPage {
    /// The keys, oldest first.
    #[serde(rename = "data")]
    keys: Vec<KeyView>,
    /// Gives the next page; null on the last one.
    next_cursor: Option<String>,
}

/// List the keys of an account
#[utoipa::path(
    get, path = "/api/v1/admin/accounts/{id}/api-keys", operation_id = "adminListKeys", tag = "Admin", security(("key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The account."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "At most so many; 20 unless given."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "The keys, masked.", body = KeyPage), Unauthorized, NotFound, Invalid, Unavailable)
)]
pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    _: Caller<Admin>,
    Account(id): Account,
    query: Query,
) -> Result<Json<KeyPage>, ApiError> {
    let (limit, behind) = (page::limit(&query)?, page::place(&query)?);
    let keys = api.store.keys_behind(&id, behind.as_ref(), limit + 1);
    let (keys, goes_on) = page::cut(keys.await?, limit);
    if keys.is_empty() && api.store.account(&id).await?.is_none() {
        return Err(ApiError::not_found("account"));
    }
    let last = keys.last().filter(|_| goes_on).map(|last| Place {
        created_ms: last.created_ms,
        id: last.id.0.clone(),
    });
    Ok(Json(KeyPage {
        keys: keys.into_iter().map(view).collect(),
        next_cursor: last.as_ref().map(page::cursor),
    }))
}

/// The keys of an account, changed by an operator.
fn any(api: &Api, account: AccountId, caller: &Principal, trace: Trace) -> KeyOrder {
    KeyOrder {
        account,
        right: Right::Operator,
        act: api.act(caller, trace),
    }
}

/// Make a key for an account
///
/// The reply is the only place that ever shows it whole. The scope `admin` has to be asked for by
/// name, and a key that gets it gets nothing that the one asking for it has not.
#[utoipa::path(
    post, path = "/api/v1/admin/accounts/{id}/api-keys", operation_id = "adminCreateKey", tag = "Admin", security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The account.")),
    request_body = KeyBody,
    responses((status = 200, description = "The key, whole.", body = KeyView), BadRequest, Unauthorized, NotFound, Full, TooLarge, Invalid, Unavailable)
)]
pub(in crate::api) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    trace: Trace,
    Account(id): Account,
    Fields(body): Fields,
) -> Result<impl IntoResponse, ApiError> {
    let wish = Wish::read(&api.catalogue, &body, api.clock.now_ms())?;
    let grant = wish.of_new(&Grant::account(""))?;
    made(&api, any(&api, id, &caller.0, trace), grant).await
}

/// Change a key of an account
///
/// Only what is named changes, at once on every node; null takes a limit away.
#[utoipa::path(
    put, path = "/api/v1/admin/accounts/{id}/api-keys/{key}", operation_id = "adminUpdateKey", tag = "Admin", security(("key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The account."),
        ("key" = String, Path, description = "The key's id."),
    ),
    request_body = ChangeBody,
    responses((status = 200, description = "The key, masked.", body = KeyView), BadRequest, Unauthorized, NotFound, TooLarge, Invalid, Unavailable)
)]
pub(in crate::api) async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    trace: Trace,
    AccountKey(account, key): AccountKey,
    Fields(body): Fields,
) -> Result<Json<KeyView>, ApiError> {
    let wish = Wish::read(&api.catalogue, &body, api.clock.now_ms())?;
    let order = any(&api, account, &caller.0, trace);
    let changed = api.store.change_key(order, key, wish).await?;
    settled(changed, "key").map(view).map(Json)
}

/// Delete a key of an account
///
/// It stops working at once; tasks that were submitted with it finish.
#[utoipa::path(
    delete, path = "/api/v1/admin/accounts/{id}/api-keys/{key}", operation_id = "adminDeleteKey", tag = "Admin", security(("key" = ["admin"])),
    params(
        ("id" = String, Path, description = "The account."),
        ("key" = String, Path, description = "The key's id."),
    ),
    responses((status = 200, description = "It is deleted.", body = Deleted), Unauthorized, NotFound, Unavailable)
)]
pub(in crate::api) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    trace: Trace,
    AccountKey(account, key): AccountKey,
) -> Result<Json<Deleted>, ApiError> {
    let order = any(&api, account, &caller.0, trace);
    settled(api.store.delete_key(order, key).await?, "key")?;
    Ok(Json(Deleted::REPLY))
}
