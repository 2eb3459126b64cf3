//! API keys: made, listed, deleted.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use domain::credits::Credits;
use domain::ids::KeyId;
use domain::key::{ApiKey, Grant, Scope, masked};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Fields;
use super::caller::{Caller, Keys};
use super::key_wish;
use super::refusals::{
    BadRequest, FeatureDisabled, Invalid, NotFound, TooLarge, Unauthorized, Unavailable,
};
use super::{Api, ApiError, Id};
use crate::clock::rfc3339;

/// A key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(super) struct KeyView {
    /// Its id.
    #[schema(example = "key_0a1b2c3d4e5f60718293")]
    id: String,
    /// For people.
    name: String,
    /// The key: whole in the reply to its creation, masked ever after.
    #[schema(example = "sk-t0-0a1b2c3d4e5f60718293-****")]
    key: String,
    /// What it may be used for.
    #[schema(value_type = Vec<String>)]
    scopes: Vec<Scope>,
    /// The only models it may run; null for all.
    models: Option<Vec<String>>,
    /// Whether its runs go to the sandbox and cost nothing.
    sandbox: bool,
    /// The only addresses it may be used from; empty for all.
    ip_whitelist: Vec<String>,
    /// Requests per minute.
    rate_limit_rpm: Option<u32>,
    /// Requests per hour.
    rate_limit_tph: Option<u32>,
    /// Requests per day.
    rate_limit_tpd: Option<u32>,
    /// Most credits a day.
    #[schema(value_type = Option<f64>)]
    daily_credit_limit: Option<Credits>,
    /// When it stops working.
    expires_at: Option<String>,
    /// When it was made.
    created_at: String,
}

/// The keys of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyList {
    /// The keys, oldest first.
    #[serde(rename = "data")]
    keys: Vec<KeyView>,
}

fn view(id: KeyId, key: String, grant: Grant, created_ms: i64) -> KeyView {
    KeyView {
        id: id.0,
        name: grant.name,
        key,
        scopes: grant.scopes,
        models: grant.models,
        sandbox: grant.sandbox,
        ip_whitelist: grant.ip_whitelist,
        rate_limit_rpm: grant.rate_limit_rpm,
        rate_limit_tph: grant.rate_limit_tph,
        rate_limit_tpd: grant.rate_limit_tpd,
        daily_credit_limit: grant.daily_credit_limit,
        expires_at: grant.expires_ms.map(rfc3339),
        created_at: rfc3339(created_ms),
    }
}

/// List keys
#[utoipa::path(
    get, path = "/api/v1/api-keys", operation_id = "listKeys", tag = "Keys",
    responses((status = 200, description = "The keys, masked.", body = KeyList), Unauthorized, Unavailable)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
) -> Result<Json<KeyList>, ApiError> {
    let keys = api.store.keys(&caller.0.account).await?;
    let keys = keys.into_iter().map(|read| {
        let public = read.id.0.strip_prefix("key_").unwrap_or(&read.id.0);
        let masked = masked(public);
        view(read.id, masked, read.grant, read.created_ms)
    });
    Ok(Json(KeyList {
        keys: keys.collect(),
    }))
}

/// Make a key
///
/// The reply is the only place that ever shows it whole. A key makes no key that may do more than
/// itself.
#[utoipa::path(
    post, path = "/api/v1/api-keys", operation_id = "createKey", tag = "Keys",
    request_body = key_wish::KeyBody,
    responses((status = 200, description = "The key, whole.", body = KeyView), BadRequest, Unauthorized, TooLarge, Invalid, FeatureDisabled, Unavailable)
)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
    Fields(body): Fields,
) -> Result<impl IntoResponse, ApiError> {
    let now_ms = api.clock.now_ms();
    let grant = key_wish::grant(&api.catalogue, &caller.0.grant, &body, now_ms)?;
    let key = ApiKey::mint(&api.entropy.bytes(), &api.entropy.bytes());
    let account = &caller.0.account;
    let created = api.store.create_key(account, &key, grant.clone(), now_ms);
    created.await?;
    let view = view(key.id(), key.reveal(), grant, now_ms);
    Ok(([(CACHE_CONTROL, "no-store")], Json(view)))
}

/// That something is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    /// 200.
    code: u16,
    /// `deleted`.
    message: &'static str,
}

/// Delete a key
///
/// It stops working at once; tasks that were submitted with it finish.
#[utoipa::path(
    delete, path = "/api/v1/api-keys/{id}", operation_id = "deleteKey", tag = "Keys",
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "It is deleted.", body = Deleted), Unauthorized, NotFound, Unavailable)
)]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
    Id(id): Id,
) -> Result<Json<Deleted>, ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_sound = id.len() <= 80 && id.bytes().all(is_plain);
    if !is_sound || !api.store.delete_key(&caller.0.account, &KeyId(id)).await? {
        return Err(ApiError::not_found("key"));
    }
    Ok(Json(Deleted {
        code: 200,
        message: "deleted",
    }))
}
