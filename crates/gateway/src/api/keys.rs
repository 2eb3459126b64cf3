//! API keys: made, listed, changed, deleted.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use domain::credits::Credits;
use domain::ids::KeyId;
use domain::key::{ApiKey, Grant, Scope, Wish, masked};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Fields;
use super::caller::{Caller, Keys, Trace};
use super::error::Kind;
use super::refusals::{BadRequest, Full, Invalid, NotFound, TooLarge, Unauthorized, Unavailable};
use super::{Api, ApiError, Id};
use crate::clock::rfc3339;
use crate::store::key_changes::{KEYS_MAX, KeyChanged, KeyOrder, Right};
use crate::store::keys::{KeyRead, Principal};

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

/// A new key.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = NewKey)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(super) struct KeyBody {
    /// For people, 1 to 100 characters.
    #[schema(example = "production")]
    name: String,
    #[serde(flatten)]
    limits: KeyLimits,
}

/// What shall be other about a key. What is not named stays; null takes a limit away. Name, scopes and
/// sandbox cannot be null.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = KeyChange)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(super) struct ChangeBody {
    /// For people, 1 to 100 characters.
    name: Option<String>,
    #[serde(flatten)]
    limits: KeyLimits,
}

/// What a key may do.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = KeyLimits)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(super) struct KeyLimits {
    /// Requests per minute.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    rate_limit_rpm: Option<u32>,
    /// Requests per hour.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    rate_limit_tph: Option<u32>,
    /// Requests per day.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    rate_limit_tpd: Option<u32>,
    /// Most credits a day, with at most 6 decimals.
    #[schema(minimum = 0.000_001, maximum = 1_000_000_000)]
    daily_credit_limit: Option<f64>,
    /// The only addresses it may be used from: at most 10 IPv4 or IPv6 addresses or CIDRs.
    ip_whitelist: Option<Vec<String>>,
    /// When it stops working; RFC 3339.
    expires_at: Option<String>,
    /// The only models it may run.
    models: Option<Vec<String>>,
    /// `run`, `read`, `keys`, `billing`, `admin`. A new key has all those of its maker but `admin`
    /// unless they are given.
    scopes: Option<Vec<String>>,
    /// Whether its runs go to the sandbox and cost nothing.
    sandbox: Option<bool>,
}

/// A key as everybody but its maker sees it.
pub(super) fn view(read: KeyRead) -> KeyView {
    let key = masked(read.id.public());
    let KeyRead {
        id,
        grant,
        created_ms,
    } = read;
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

/// What came of a wish to change a key, as a reply; and what is missing where something is.
pub(super) fn settled<T>(changed: KeyChanged<T>, what: &str) -> Result<T, ApiError> {
    match changed {
        KeyChanged::Yes(done) => Ok(done),
        KeyChanged::Missing => Err(ApiError::not_found(what)),
        KeyChanged::Full => {
            let message = format!("The account has {KEYS_MAX} keys already; delete one first.");
            Err(ApiError::new(Kind::Conflict, message))
        }
        KeyChanged::Refused(invalid) => Err(invalid.into()),
        KeyChanged::Unauthorized => Err(ApiError::unauthorized()),
    }
}

/// List keys
#[utoipa::path(
    get, path = "/api/v1/api-keys", operation_id = "listKeys", tag = "Keys", security(("key" = ["keys"])),
    responses((status = 200, description = "The keys, masked.", body = KeyList), Unauthorized, Unavailable)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
) -> Result<Json<KeyList>, ApiError> {
    let keys = api.store.keys(&caller.0.account).await?;
    Ok(Json(KeyList {
        keys: keys.into_iter().map(view).collect(),
    }))
}

/// The keys of the caller's account, changed by the caller.
fn own(api: &Api, caller: &Principal, trace: Trace) -> KeyOrder {
    KeyOrder {
        account: caller.account.clone(),
        right: Right::Account,
        act: api.act(caller, trace),
    }
}

/// Makes a key; the only reply that shows it whole.
pub(super) async fn made(
    api: &Api,
    order: KeyOrder,
    grant: Grant,
) -> Result<impl IntoResponse + use<>, ApiError> {
    let key = ApiKey::mint(&api.entropy.bytes(), &api.entropy.bytes());
    let whole = key.reveal().to_owned();
    let read = settled(api.store.make_key(order, key, grant).await?, "account")?;
    let view = KeyView {
        key: whole,
        ..view(read)
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(view)))
}

/// Make a key
///
/// The reply is the only place that ever shows it whole. A key makes no key that may do more than
/// itself; one that has a limit makes none that runs, as limits count for each key.
#[utoipa::path(
    post, path = "/api/v1/api-keys", operation_id = "createKey", tag = "Keys", security(("key" = ["keys"])),
    request_body = KeyBody,
    responses((status = 200, description = "The key, whole.", body = KeyView), BadRequest, Unauthorized, Full, TooLarge, Invalid, Unavailable)
)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
    trace: Trace,
    Fields(body): Fields,
) -> Result<impl IntoResponse, ApiError> {
    let wish = Wish::read(&api.catalogue, &body, api.clock.now_ms())?;
    let grant = wish.of_new(&caller.0.grant)?;
    made(&api, own(&api, &caller.0, trace), grant).await
}

/// Change a key
///
/// Only what is named changes, at once on every node; null takes a limit away. No key gets more than
/// the one that asks for it has, and none gives itself more. Taking something away is always allowed.
#[utoipa::path(
    put, path = "/api/v1/api-keys/{id}", operation_id = "updateKey", tag = "Keys", security(("key" = ["keys"])),
    params(("id" = String, Path, description = "The key's id.")),
    request_body = ChangeBody,
    responses((status = 200, description = "The key, masked.", body = KeyView), BadRequest, Unauthorized, NotFound, TooLarge, Invalid, Unavailable)
)]
pub(super) async fn update(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
    trace: Trace,
    id: Id,
    Fields(body): Fields,
) -> Result<Json<KeyView>, ApiError> {
    let id = KeyId(id.word("key")?);
    let wish = Wish::read(&api.catalogue, &body, api.clock.now_ms())?;
    let order = own(&api, &caller.0, trace);
    let changed = api.store.change_key(order, id, wish).await?;
    settled(changed, "key").map(view).map(Json)
}

/// That something is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    /// 200.
    code: u16,
    /// `deleted`.
    message: &'static str,
}

impl Deleted {
    pub(super) const REPLY: Self = Self {
        code: 200,
        message: "deleted",
    };
}

/// Delete a key
///
/// It stops working at once; tasks that were submitted with it finish.
#[utoipa::path(
    delete, path = "/api/v1/api-keys/{id}", operation_id = "deleteKey", tag = "Keys", security(("key" = ["keys"])),
    params(("id" = String, Path, description = "The key's id.")),
    responses((status = 200, description = "It is deleted.", body = Deleted), Unauthorized, NotFound, Unavailable)
)]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
    trace: Trace,
    id: Id,
) -> Result<Json<Deleted>, ApiError> {
    let id = KeyId(id.word("key")?);
    let order = own(&api, &caller.0, trace);
    settled(api.store.delete_key(order, id).await?, "key")?;
    Ok(Json(Deleted::REPLY))
}
