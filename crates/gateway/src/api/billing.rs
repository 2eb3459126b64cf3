//! Credits.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::credits::Credits;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{Billing, Caller};
use super::refusals::{Unauthorized, Unavailable};
use super::{Api, ApiError};

/// What an account has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance)]
pub(super) struct BalanceView {
    /// What can be spent now.
    #[schema(value_type = f64, example = 42.5)]
    credits: Credits,
    /// `USD`: a credit is a dollar.
    currency: &'static str,
    /// Held for tasks that are not finished.
    #[schema(value_type = f64, example = 0.35)]
    held: Credits,
}

/// Read the balance
#[utoipa::path(
    get, path = "/api/v1/billing/balance", operation_id = "readBalance", tag = "Billing", security(("key" = ["billing"])),
    responses((status = 200, description = "The balance.", body = BalanceView), Unauthorized, Unavailable)
)]
pub(super) async fn balance(
    State(api): State<Arc<Api>>,
    caller: Caller<Billing>,
) -> Result<Json<BalanceView>, ApiError> {
    let balance = api.store.balance(&caller.0.account).await?;
    Ok(Json(BalanceView {
        credits: balance.available(),
        currency: "USD",
        held: balance.held,
    }))
}
