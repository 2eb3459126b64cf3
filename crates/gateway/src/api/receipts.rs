//! Stripe's messages: what was paid is credited, what goes back is told to the operator.
//!
//! Invariant: nothing is believed without Stripe's signature; credits are entered once for a session
//! that this deployment opened, for the account it was opened for, however often Stripe repeats
//! itself. A message that was not recorded is not answered 200, so that Stripe repeats it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use domain::stripe::SIGNATURE_HEADER;
use domain::stripe::message::{Message, Payment, Return, Why};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::body::Raw;
use super::counters::TopUp;
use super::error::ApiError;
use super::prefer::one;
use super::refusals::{FeatureDisabled, Forged, TooLarge, Unavailable};
use crate::store::accounts::Granted;
use crate::store::checkouts::Checkout;

/// That a message was taken.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Received {
    /// True.
    received: bool,
}

/// Take a message of Stripe
///
/// For Stripe alone, which signs what it sends. Without that signature nothing is read.
#[utoipa::path(
    post, path = "/api/v1/billing/stripe/webhook", operation_id = "receiveStripe", tag = "Operating", security(()),
    params(("Stripe-Signature" = String, Header, description = "`t=…,v1=…`")),
    request_body(content = Object, description = "An event of Stripe."),
    responses(
        (status = 200, description = "It was taken, or nothing follows from it.", body = Received),
        Forged, TooLarge, Unavailable, FeatureDisabled,
    )
)]
pub(super) async fn receive(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Json<Received>, ApiError> {
    let secret = api.desk.stripe_secret.as_ref();
    let secret = secret.ok_or_else(|| ApiError::disabled("Payments are not set up here."))?;
    let header = one(&headers, SIGNATURE_HEADER).ok().flatten();
    let now_s = api.clock.now_ms().div_euclid(1_000);
    if !header.is_some_and(|header| secret.has_signed(header, &body, now_s)) {
        api.counters.top_up(TopUp::Forged);
        return Err(ApiError::bad_request(
            "The signature is missing, wrong or too old.",
        ));
    }
    let message = Message::read(&body).map_err(|error| {
        let detail = format!("Stripe sent what cannot be read: {error}");
        ApiError::bad_request("The body is none of Stripe's messages.").because(detail)
    })?;
    match message {
        Message::Paid(payment) => credit(&api, payment).await?,
        Message::Returned(back) => tell(&api, &back).await?,
        Message::Other(kind) => tracing::debug!(kind, "nothing follows from a message of Stripe"),
    }
    Ok(Json(Received { received: true }))
}

async fn credit(api: &Api, payment: Payment) -> Result<(), ApiError> {
    let session = payment.session.as_str();
    let Some(checkout) = api.store.any_checkout(session).await? else {
        unclaimed(api, &payment);
        return Ok(());
    };
    let (account, cents) = (&checkout.account, payment.cents);
    let Some(credits) = payment.credits() else {
        // Pages are opened in dollars, so this wants a person.
        let currency = &payment.currency;
        tracing::error!(session, %account, cents, currency, "a payment cannot be credited");
        api.counters.top_up(TopUp::Unclaimed);
        return Ok(());
    };
    if credits != checkout.credits {
        let asked = checkout.credits.to_string();
        tracing::warn!(session, %account, %credits, asked, "another amount was paid than asked for");
    }
    let now_ms = api.clock.now_ms();
    let paid = api
        .store
        .any_pay_checkout(&checkout, credits, payment.payment.clone(), now_ms);
    match paid.await? {
        Granted::Yes => {
            tracing::info!(session, %account, %credits, "a payment was credited");
            api.counters.top_up(TopUp::Credited);
            Ok(())
        }
        Granted::Before => {
            api.counters.top_up(TopUp::Repeated);
            Ok(())
        }
        Granted::Insufficient => {
            let detail = format!("{session}: {account} is gone or has too much to take {credits}");
            Err(ApiError::internal(detail))
        }
    }
}

/// A session that is not ours: of another product, or of ours whose record is lost.
fn unclaimed(api: &Api, payment: &Payment) {
    let Payment {
        session,
        cents,
        currency,
        account,
        ..
    } = payment;
    let Some(account) = account else {
        api.counters.top_up(TopUp::Foreign);
        return;
    };
    tracing::error!(
        session,
        account,
        cents,
        currency,
        "a payment of ours has no record here and was not credited: see operating.md"
    );
    api.counters.top_up(TopUp::Unclaimed);
}

/// Money that goes back changes no balance: credits may be spent already, and a dispute may be won.
async fn tell(api: &Api, back: &Return) -> Result<(), ApiError> {
    let checkout = match &back.payment {
        Some(payment) => api.store.any_checkout_paid_by(payment).await?,
        None => None,
    };
    let (account, session) = match (&checkout, &back.account) {
        (Some(Checkout { account, id, .. }), _) => (account.as_str(), id.as_str()),
        (None, Some(account)) => (account.as_str(), ""),
        (None, None) => {
            api.counters.top_up(TopUp::Foreign);
            return Ok(());
        }
    };
    let (outcome, what) = match back.why {
        Why::Refund => (TopUp::Refunded, "a payment was refunded"),
        Why::Dispute => (TopUp::Disputed, "a payment is disputed"),
    };
    let (id, cents, currency) = (&back.id, back.cents, &back.currency);
    tracing::error!(
        id,
        account,
        session,
        cents,
        currency,
        "{what}; its credits are still there: see operating.md"
    );
    api.counters.top_up(outcome);
    Ok(())
}
