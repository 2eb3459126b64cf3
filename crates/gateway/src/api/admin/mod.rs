//! What operators do: accounts and their keys, credits, switches, the audit log.
//!
//! Invariant: every endpoint demands the scope `admin`, and every one that changes something leaves a
//! line in the audit log, in the same transaction.

pub(super) mod accounts;
pub(super) mod audit;
pub(super) mod credits;
pub(super) mod features;
pub(super) mod keys;
pub(super) mod maintenance;
mod page;
pub(super) mod providers;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::routing::{get, post, put};
use domain::ids::{AccountId, KeyId};
use serde_json::Value;

use super::counters::Endpoint;
use super::{ApiError, Id, Routes, word};

pub(super) fn routes(routes: Routes) -> Routes {
    let path = |name: &str| format!("/api/v1/admin/{name}");
    let endpoints = [
        ("accounts", get(accounts::list).post(accounts::create)),
        ("accounts/{id}", get(accounts::read).put(accounts::update)),
        ("accounts/{id}/api-keys", get(keys::list).post(keys::create)),
        (
            "accounts/{id}/api-keys/{key}",
            put(keys::update).delete(keys::delete),
        ),
        ("accounts/{id}/credits", post(credits::grant)),
        ("providers", get(providers::list)),
        ("maintenance", get(maintenance::read).put(maintenance::set)),
        ("features", get(features::read).put(features::set)),
        ("audit", get(audit::list)),
    ];
    endpoints
        .into_iter()
        .fold(routes, |routes, (name, methods)| {
            routes.at(&path(name), Endpoint::Admin, methods)
        })
}

/// The account a path names.
pub(in crate::api) struct Account(AccountId);

impl<S: Send + Sync> FromRequestParts<S> for Account {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = Id::from_request_parts(parts, state).await?;
        Ok(Self(AccountId(id.word("account")?)))
    }
}

/// The account a path names, and the key behind it.
pub(in crate::api) struct AccountKey(AccountId, KeyId);

impl<S: Send + Sync> FromRequestParts<S> for AccountKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((account, key)) = path.map_err(|_| ApiError::not_found("key"))?;
        let account = AccountId(word(account, "key")?);
        Ok(Self(account, KeyId(word(key, "key")?)))
    }
}

/// A field that is there and not null.
fn given<'b>(body: &'b Value, name: &str) -> Option<&'b Value> {
    body.get(name).filter(|value| !value.is_null())
}

/// A text of at most so many characters, none of them a control character.
fn text(body: &Value, name: &'static str, most: usize) -> Result<Option<String>, ApiError> {
    let Some(value) = given(body, name) else {
        return Ok(None);
    };
    let text = value.as_str().map(str::trim);
    let is_sound = |text: &&str| {
        (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    let message = format!("must be 1 to {most} characters without control characters");
    let text = text.filter(is_sound).map(str::to_owned);
    text.map(Some)
        .ok_or_else(|| ApiError::invalid(name, &message))
}

/// True or false.
fn flag(body: &Value, name: &'static str) -> Result<Option<bool>, ApiError> {
    let refusal = || ApiError::invalid(name, "must be true or false").allowing(vec![true, false]);
    let value = given(body, name);
    let flag = value.map(|value| value.as_bool().ok_or_else(refusal));
    flag.transpose()
}
