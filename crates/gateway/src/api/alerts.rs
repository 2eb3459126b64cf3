//! Wishes to be told of a low balance.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use domain::credits::Credits;
use domain::ids::AlertId;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::body::Fields;
use super::caller::{Billing, Caller};
use super::desk::Mails;
use super::keys::Deleted;
use super::refusals::{
    AlertsFull, BadRequest, FeatureDisabled, Invalid, NotFound, TooLarge, Unauthorized, Unavailable,
};
use super::{Api, ApiError, Id, Kind};
use crate::clock::rfc3339;
use crate::store::alerts::{ALERTS_MAX, Alert, AlertState};

/// The highest threshold: far beyond any real balance.
const THRESHOLD_MAX: Credits = Credits(1_000_000_000_000_000);

/// A new alert.
#[derive(ToSchema)]
#[schema(as = NewAlert)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(super) struct AlertBody {
    /// Credits; more than 0.
    #[schema(example = 10)]
    threshold: f64,
    /// Where the mail goes; to the operator unless given.
    #[schema(example = "finance@example.com")]
    email: Option<String>,
}

/// An alert.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(super) struct AlertView {
    /// Its id.
    #[schema(example = "alert_0a1b2c3d4e5f60718293")]
    id: String,
    /// A mail goes out when less than this can be spent.
    #[schema(value_type = f64, example = 10)]
    threshold: Credits,
    /// Where it goes.
    #[schema(example = "finance@example.com")]
    email: String,
    /// `armed` until the balance is below, then `due`, and `sent` or `failed` until the balance is back.
    #[schema(example = "armed")]
    state: &'static str,
    /// When the last mail was sent, else null.
    last_sent_at: Option<String>,
    /// When it was made.
    created_at: String,
}

/// The alerts of an account.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AlertList {
    /// The alerts, oldest first.
    data: Vec<AlertView>,
}

fn view(alert: Alert) -> AlertView {
    AlertView {
        id: alert.id.0,
        threshold: alert.threshold,
        email: alert.email,
        state: alert.state.as_str(),
        last_sent_at: alert.sent_ms.map(rfc3339),
        created_at: rfc3339(alert.created_ms),
    }
}

/// Ask to be told of a low balance
///
/// A mail goes out once when less than the threshold can be spent, within seconds, and again only
/// after the balance was back. If it is below already, the mail goes out at once. At most four mails
/// follow each other; then an alert sends one an hour.
#[utoipa::path(
    post, path = "/api/v1/billing/alerts", operation_id = "createAlert", tag = "Billing", security(("key" = ["billing"])),
    request_body = AlertBody,
    responses(
        (status = 200, description = "The alert.", body = AlertView),
        BadRequest, Unauthorized, AlertsFull, TooLarge, Invalid, FeatureDisabled, Unavailable,
    )
)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    caller: Caller<Billing>,
    Fields(body): Fields,
) -> Result<Json<AlertView>, ApiError> {
    let mails = api.desk.mails.as_ref();
    let mails = mails.ok_or_else(|| ApiError::disabled("Mails are not set up here."))?;
    let alert = Alert {
        id: AlertId::mint(&api.entropy.bytes()),
        threshold: threshold(&body)?,
        email: email(mails, &body)?,
        state: AlertState::Armed,
        sent_ms: None,
        created_ms: api.clock.now_ms(),
    };
    if !api.store.create_alert(&caller.0.account, &alert).await? {
        let message = format!("There are {ALERTS_MAX} alerts already; delete one first.");
        return Err(ApiError::new(Kind::Conflict, message));
    }
    Ok(Json(view(alert)))
}

fn threshold(body: &Value) -> Result<Credits, ApiError> {
    let given = body.get("threshold").filter(|given| given.is_number());
    let credits: Option<Credits> =
        given.and_then(|given| serde_json::from_value(given.clone()).ok());
    let is_sound = |credits: &Credits| *credits > Credits::ZERO && *credits <= THRESHOLD_MAX;
    credits.filter(is_sound).ok_or_else(|| {
        let message = "must be a number of credits above 0 with at most 6 decimal places";
        let allowed = json!({ "min": Credits(1), "max": THRESHOLD_MAX });
        ApiError::invalid("threshold", message).allowing(allowed)
    })
}

fn email(mails: &Mails, body: &Value) -> Result<String, ApiError> {
    let Some(given) = body.get("email").filter(|given| !given.is_null()) else {
        return Ok(mails.operator.clone());
    };
    let address = given.as_str().filter(|text| (mails.is_address)(text));
    let message = "must be one e-mail address in ASCII, without a name";
    address
        .map(str::to_owned)
        .ok_or_else(|| ApiError::invalid("email", message))
}

/// List alerts
#[utoipa::path(
    get, path = "/api/v1/billing/alerts", operation_id = "listAlerts", tag = "Billing", security(("key" = ["billing"])),
    responses((status = 200, description = "The alerts.", body = AlertList), Unauthorized, Unavailable)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Billing>,
) -> Result<Json<AlertList>, ApiError> {
    let alerts = api.store.alerts(&caller.0.account).await?;
    Ok(Json(AlertList {
        data: alerts.into_iter().map(view).collect(),
    }))
}

/// Delete an alert
#[utoipa::path(
    delete, path = "/api/v1/billing/alerts/{id}", operation_id = "deleteAlert", tag = "Billing", security(("key" = ["billing"])),
    params(("id" = String, Path, description = "The alert's id.")),
    responses((status = 200, description = "It is deleted.", body = Deleted), Unauthorized, NotFound, Unavailable)
)]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller<Billing>,
    id: Id,
) -> Result<Json<Deleted>, ApiError> {
    let id = AlertId(id.word("alert")?);
    if !api.store.delete_alert(&caller.0.account, &id).await? {
        return Err(ApiError::not_found("alert"));
    }
    Ok(Json(Deleted::REPLY))
}
