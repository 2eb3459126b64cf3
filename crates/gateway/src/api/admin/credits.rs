//! Credits given and taken.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::credits::Credits;
use domain::key::{CREDITS_MAX, amount};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Account, given, text};
use crate::api::body::Fields;
use crate::api::caller::{Admin, Caller, Trace};
use crate::api::refusals::{
    BadRequest, Invalid, NotFound, NotFree, TooLarge, Unauthorized, Unavailable,
};
use crate::api::{Api, ApiError};
use crate::store::accounts::Grant;
use crate::store::admin_accounts::{CreditOrder, Credited};

/// Most characters of a reference.
const REFERENCE_CHARS_MAX: usize = 200;

/// Most characters of a note.
const NOTE_CHARS_MAX: usize = 500;

/// Credits for an account.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CreditOrder)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(in crate::api) struct CreditBody {
    /// How many, with at most 6 decimals: above 0 for a `top_up`, either way for an `adjust`.
    #[schema(minimum = -1_000_000_000, maximum = 1_000_000_000, example = 50)]
    amount: f64,
    /// What they are for, 1 to 200 characters. Counts once for its kind, in the whole deployment.
    #[schema(example = "invoice-117")]
    reference: String,
    /// For whoever reads the audit log, up to 500 characters.
    note: Option<String>,
    /// `top_up` unless given, or `adjust` for a correction.
    kind: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditReply)]
pub(in crate::api) struct CreditView {
    /// The account.
    account: String,
    /// `top_up` or `adjust`.
    kind: &'static str,
    /// How many.
    #[schema(value_type = f64)]
    amount: Credits,
    /// What they are for.
    reference: String,
    /// Whether they were entered now; false where the same was entered before.
    entered: bool,
    /// What the account can spend now.
    #[schema(value_type = f64)]
    credits: Credits,
    /// Held for tasks that are not finished.
    #[schema(value_type = f64)]
    held: Credits,
}

/// Give credits to an account, or take some
///
/// A reference counts once: the same call again changes nothing and says so. What is held for tasks
/// cannot be taken.
#[utoipa::path(
    post, path = "/api/v1/admin/accounts/{id}/credits", operation_id = "adminGrantCredits", tag = "Admin", security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The account.")),
    request_body = CreditBody,
    responses((status = 200, description = "What the account has now.", body = CreditView), BadRequest, Unauthorized, NotFound, NotFree, TooLarge, Invalid, Unavailable)
)]
pub(in crate::api) async fn grant(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    trace: Trace,
    Account(account): Account,
    Fields(body): Fields,
) -> Result<Json<CreditView>, ApiError> {
    let order = order(account, &body)?;
    let act = api.act(&caller.0, trace);
    let credited = api.store.credit(order.clone(), act).await?;
    let (entered, balance) = match credited {
        Credited::Yes(balance) => (true, balance),
        Credited::Before(balance) => (false, balance),
        Credited::Reused => {
            let message = "was used for another amount or account before";
            return Err(ApiError::invalid("reference", message));
        }
        Credited::Insufficient => {
            let message = "The account has not so much that is free.";
            return Err(ApiError::conflict(message).about("amount"));
        }
        Credited::Missing => return Err(ApiError::not_found("account")),
    };
    Ok(Json(CreditView {
        account: order.account.0,
        kind: order.kind.as_str(),
        amount: order.credits,
        reference: order.reference,
        entered,
        credits: balance.available(),
        held: balance.held,
    }))
}

fn order(account: domain::ids::AccountId, body: &Value) -> Result<CreditOrder, ApiError> {
    let kind = kind(body)?;
    let least = match kind {
        Grant::TopUp => Credits(1),
        Grant::Adjust => Credits(-CREDITS_MAX.0),
    };
    let value = body.get("amount").unwrap_or(&Value::Null);
    let credits = amount("amount", value, least..=CREDITS_MAX)?;
    if credits == Credits::ZERO {
        return Err(ApiError::invalid("amount", "must not be 0"));
    }
    let reference = text(body, "reference", REFERENCE_CHARS_MAX)?;
    Ok(CreditOrder {
        account,
        kind,
        credits,
        reference: reference.ok_or_else(|| ApiError::invalid("reference", "must be given"))?,
        note: text(body, "note", NOTE_CHARS_MAX)?,
    })
}

fn kind(body: &Value) -> Result<Grant, ApiError> {
    let Some(value) = given(body, "kind") else {
        return Ok(Grant::TopUp);
    };
    let kinds = [Grant::TopUp, Grant::Adjust];
    let found = kinds
        .into_iter()
        .find(|kind| value.as_str() == Some(kind.as_str()));
    found.ok_or_else(|| {
        let words = kinds.map(Grant::as_str);
        ApiError::invalid("kind", "must be top_up or adjust").allowing(words.to_vec())
    })
}
