//! Buying credits: a page of Stripe is opened, and what is paid on it comes back as a message.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use domain::credits::Credits;
use domain::ids::AccountId;
use domain::stripe::message::cents;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::Api;
use super::body::Fields;
use super::caller::{Billing, Caller};
use super::counters::TopUp;
use super::desk::{NoPage, PageWish, PayPage, Till};
use super::error::{ApiError, Kind};
use super::prefer::{IDEMPOTENCY_KEY, idempotency_key};
use super::refusals::{
    BadRequest, FeatureDisabled, Invalid, PaymentsAway, TooLarge, Twin, Unauthorized,
};
use crate::store::checkouts::Checkout;

/// How much to buy.
#[derive(ToSchema)]
#[schema(as = TopUp)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(super) struct TopUpBody {
    /// Credits, which are US dollars, with at most two decimal places. The operator sets the least
    /// and the most.
    #[schema(example = 25.5)]
    amount: f64,
}

/// Where to pay.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Checkout)]
pub(super) struct CheckoutView {
    /// The page to send the customer to. It is open for a day.
    #[schema(example = "https://checkout.stripe.com/c/pay/cs_live_a1b2c3")]
    checkout_url: String,
    /// Stripe's id of the page.
    #[schema(example = "cs_live_a1b2c3")]
    session_id: String,
}

/// Buy credits
///
/// Opens a payment page of Stripe. Nothing is charged before somebody pays there; the credits are
/// there as soon as Stripe says so, usually within seconds.
#[utoipa::path(
    post, path = "/api/v1/billing/topup", operation_id = "topUp", tag = "Billing", security(("key" = ["billing"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same key with the same amount gives the same page for at least a day.")),
    request_body = TopUpBody,
    responses(
        (status = 200, description = "The page is open.", body = CheckoutView),
        BadRequest, Unauthorized, Twin, TooLarge, Invalid, PaymentsAway, FeatureDisabled,
    )
)]
pub(super) async fn open(
    State(api): State<Arc<Api>>,
    caller: Caller<Billing>,
    headers: HeaderMap,
    Fields(body): Fields,
) -> Result<Json<CheckoutView>, ApiError> {
    let till = api.desk.till.as_ref().ok_or_else(|| {
        ApiError::disabled("Credits cannot be bought here; ask the operator for some.")
    })?;
    let (credits, cents) = amount(till, &body)?;
    let account = &caller.0.account;
    let wish = PageWish {
        account: account.clone(),
        cents,
        key: match idempotency_key(&headers)? {
            Some(key) => derived(account, &key),
            None => hex::encode(api.entropy.bytes::<16>()),
        },
    };
    let page = (till.open)(wish).await.map_err(|reason| {
        api.counters.top_up(TopUp::Unopened);
        refusal(reason)
    })?;
    let page = record(&api, account, credits, page).await?;
    api.counters.top_up(TopUp::Opened);
    Ok(Json(CheckoutView {
        checkout_url: page.url,
        session_id: page.id,
    }))
}

/// Only a page that is recorded is handed out, as only what is paid on such a one is credited.
async fn record(
    api: &Api,
    account: &AccountId,
    credits: Credits,
    page: PayPage,
) -> Result<PayPage, ApiError> {
    let checkout = Checkout {
        id: page.id.clone(),
        account: account.clone(),
        credits,
    };
    let now_ms = api.clock.now_ms();
    if !api.store.record_checkout(checkout, now_ms).await? {
        let detail = format!("Stripe gave {} to two accounts", page.id);
        return Err(ApiError::internal(detail));
    }
    Ok(page)
}

/// What is to be paid, in credits and in cents.
fn amount(till: &Till, body: &Value) -> Result<(Credits, i64), ApiError> {
    const NAME: &str = "amount";
    let given = body.get(NAME).filter(|given| given.is_number());
    let given = given.ok_or_else(|| ApiError::invalid(NAME, "must be a number of credits"))?;
    let credits: Option<Credits> = serde_json::from_value(given.clone()).ok();
    let whole = credits.and_then(|credits| Some((credits, cents(credits)?)));
    let (least, most) = (till.least, till.most);
    whole
        .filter(|(credits, _)| (least..=most).contains(credits))
        .ok_or_else(|| {
            let range = format!("between {least} and {most} credits");
            let message = format!("must be {range} with at most 2 decimal places");
            ApiError::invalid(NAME, &message).allowing(json!({ "min": least, "max": most }))
        })
}

/// Stripe knows nothing of our accounts: two of them may choose the same key.
fn derived(account: &AccountId, key: &str) -> String {
    hex::encode(Sha256::digest(format!("{account}/{key}")))
}

fn refusal(reason: NoPage) -> ApiError {
    match reason {
        NoPage::Reused => ApiError::invalid(IDEMPOTENCY_KEY, "was used for another request before"),
        NoPage::Twin => ApiError::conflict("The same request is being answered; try again."),
        NoPage::Away(detail) => {
            let message = "The payment page could not be opened. Nothing was charged; try again.";
            ApiError::new(Kind::Overloaded, message).because(detail)
        }
    }
}

/// Where Stripe sends a customer who paid, unless the operator named another place.
pub(super) async fn paid() -> &'static str {
    "Thank you. The credits are there as soon as the payment is confirmed, usually within seconds. \
     You can close this page.\n"
}

/// Where Stripe sends a customer who turned back.
pub(super) async fn cancelled() -> &'static str {
    "Nothing was charged. You can close this page.\n"
}
