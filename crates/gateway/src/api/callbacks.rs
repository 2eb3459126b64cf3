//! Callbacks: what was sent, sending it again, the secret that signs it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use domain::ids::{NoticeId, TaskId};
use domain::signing::Secret;
use domain::switches::Feature;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;
use utoipa::ToSchema;

use super::body::Fields;
use super::caller::{Caller, Keys, Read, Run};
use super::error::Kind;
use super::list::{LIMIT, LIMIT_MAX};
use super::query::Query;
use super::refusals::{
    BadRequest, FeatureDisabled, Invalid, NotFound, TooLarge, TooOld, Unauthorized, Unavailable,
};
use super::switchboard::check_feature;
use super::{Api, ApiError, Id, TestCallback};
use crate::clock::rfc3339;
use crate::store::notices::{Delivery, Notice};

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// A reply that nobody may keep.
type Secretly<T> = ([(axum::http::HeaderName, &'static str); 1], Json<T>);

fn secretly<T>(reply: T) -> Secretly<T> {
    ([(CACHE_CONTROL, "no-store")], Json(reply))
}

/// A callback: the news that a task ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Callback)]
pub(super) struct NoticeView {
    /// Its id, the `webhook-id` of every delivery.
    id: String,
    /// The task it tells of.
    task_id: String,
    /// Where it goes.
    url: String,
    /// `pending`, `delivered`, `exhausted`, `gone` or `blocked`.
    state: String,
    /// POSTs made.
    attempts: i64,
    /// Status of the last reply, if there was one.
    last_status: Option<i64>,
    /// When the next POST is due, while it is pending.
    next_attempt_at: Option<String>,
    /// When the task ended.
    created_at: String,
    /// When it last changed.
    updated_at: String,
    /// The POSTs made; only when one callback is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<DeliveryView>>,
}

/// One POST of a callback.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(super) struct DeliveryView {
    /// Which one, from 1.
    n: i64,
    /// When it began.
    at: String,
    /// How long it took, in milliseconds.
    took_ms: i64,
    /// Status of the reply, if there was one.
    status: Option<i64>,
    /// The start of the reply, or why there is none.
    note: String,
}

/// Some callbacks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallbackList {
    /// The callbacks, newest first.
    #[serde(rename = "data")]
    callbacks: Vec<NoticeView>,
}

fn view(notice: Notice) -> NoticeView {
    let is_pending = notice.state == "pending";
    NoticeView {
        id: notice.id.0,
        task_id: notice.task.0,
        url: notice.url,
        state: notice.state,
        attempts: notice.attempts,
        last_status: notice.last_status,
        next_attempt_at: is_pending.then(|| rfc3339(notice.due_ms)),
        created_at: rfc3339(notice.created_ms),
        updated_at: rfc3339(notice.updated_ms),
        deliveries: None,
    }
}

fn delivery(delivery: Delivery) -> DeliveryView {
    DeliveryView {
        n: delivery.n,
        at: rfc3339(delivery.at_ms),
        took_ms: delivery.took_ms,
        status: delivery.status,
        note: delivery.note,
    }
}

/// List callbacks, newest first
#[utoipa::path(
    get, path = "/api/v1/callbacks", operation_id = "listCallbacks", tag = "Callbacks", security(("key" = ["read"])),
    params(
        ("task_id" = Option<String>, Query, description = "Only of this task."),
        ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "At most so many; 20 unless given."),
    ),
    responses((status = 200, description = "The callbacks.", body = CallbackList), Unauthorized, Invalid, Unavailable)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Query,
) -> Result<Json<CallbackList>, ApiError> {
    let limit = query.number("limit", 1..=LIMIT_MAX)?.unwrap_or(LIMIT);
    let task = query.text("task_id")?;
    if task.is_some_and(|task| TaskId::parse(task).is_none()) {
        return Err(ApiError::invalid("task_id", "must be the id of a task"));
    }
    let notices = api.store.notices(&caller.0.account, task, limit).await?;
    let callbacks = notices.into_iter().map(view).collect();
    Ok(Json(CallbackList { callbacks }))
}

/// Read a callback with its deliveries
#[utoipa::path(
    get, path = "/api/v1/callbacks/{id}", operation_id = "readCallback", tag = "Callbacks", security(("key" = ["read"])),
    params(("id" = String, Path, description = "The callback.")),
    responses((status = 200, description = "The callback.", body = NoticeView), Unauthorized, NotFound, Unavailable)
)]
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    id: Id,
) -> Result<Json<NoticeView>, ApiError> {
    one(&api, &caller.0.account, &NoticeId(id.word("callback")?))
        .await
        .map(Json)
}

async fn one(
    api: &Api,
    account: &domain::ids::AccountId,
    id: &NoticeId,
) -> Result<NoticeView, ApiError> {
    let found = api.store.notice(account, id).await?;
    let (notice, deliveries) = found.ok_or_else(|| ApiError::not_found("callback"))?;
    Ok(NoticeView {
        deliveries: Some(deliveries.into_iter().map(delivery).collect()),
        ..view(notice)
    })
}

/// Send a callback again
///
/// With the same `webhook-id`, for 30 days after the task ended.
#[utoipa::path(
    post, path = "/api/v1/callbacks/{id}/replay", operation_id = "replayCallback", tag = "Callbacks", security(("key" = ["run"])),
    params(("id" = String, Path, description = "The callback.")),
    responses((status = 200, description = "The callback, due again.", body = NoticeView), Unauthorized, NotFound, TooOld, Unavailable, FeatureDisabled)
)]
pub(super) async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller<Run>,
    id: Id,
) -> Result<Json<NoticeView>, ApiError> {
    check_feature(&*api.switches().await?, Feature::Callbacks)?;
    let (id, account) = (NoticeId(id.word("callback")?), &caller.0.account);
    let now_ms = api.clock.now_ms();
    let is_due = api.store.replay_notice(account, &id, now_ms).await?;
    let notice = one(&api, account, &id).await?;
    if is_due {
        return Ok(Json(notice));
    }
    let message = "The callback is older than 30 days and cannot be sent again.";
    Err(ApiError::conflict(message))
}

/// The secret that signs callbacks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SecretView {
    /// `whsec_` and the secret in base64, as Standard Webhooks libraries take it.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

/// Read the secret that signs callbacks
#[utoipa::path(
    get, path = "/api/v1/callbacks/secret", operation_id = "readCallbackSecret", tag = "Callbacks", security(("key" = ["keys"])),
    responses((status = 200, description = "The secret.", body = SecretView), Unauthorized, Unavailable)
)]
pub(super) async fn secret(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
) -> Result<Secretly<SecretView>, ApiError> {
    let now_ms = api.clock.now_ms();
    let secrets = api
        .store
        .callback_secrets(&caller.0.account, now_ms)
        .await?;
    let newest = secrets.first().map(Secret::reveal);
    let secret = newest.ok_or_else(|| ApiError::internal("an account without a secret"))?;
    Ok(secretly(SecretView { secret }))
}

/// Replace the secret that signs callbacks
///
/// For a day both the new and the old one sign.
#[utoipa::path(
    post, path = "/api/v1/callbacks/secret/rotate", operation_id = "rotateCallbackSecret", tag = "Callbacks", security(("key" = ["keys"])),
    responses((status = 200, description = "The new secret.", body = SecretView), Unauthorized, Unavailable)
)]
pub(super) async fn rotate(
    State(api): State<Arc<Api>>,
    caller: Caller<Keys>,
) -> Result<Secretly<SecretView>, ApiError> {
    let new = Secret::mint(&api.entropy.bytes());
    let secret = new.reveal();
    let (account, now_ms) = (&caller.0.account, api.clock.now_ms());
    api.store
        .rotate_callback_secret(account, new, now_ms)
        .await?;
    Ok(secretly(SecretView { secret }))
}

/// Where to send a test callback.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes the body, which is read field by field")]
pub(super) struct TestBody {
    /// An http or https URL.
    #[schema(example = "https://example.com/hook")]
    url: String,
}

/// What came of a test callback.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestView {
    /// Whether the reply counts as delivered.
    delivered: bool,
    /// Status of the reply, if there was one.
    status: Option<u16>,
    /// How long it took, in milliseconds.
    took_ms: i64,
    /// The start of the reply, or why there is none.
    note: String,
}

/// Send a test callback
///
/// Signed like a real one, sent once, at once.
#[utoipa::path(
    post, path = "/api/v1/callbacks/test", operation_id = "testCallback", tag = "Callbacks", security(("key" = ["run"])),
    request_body = TestBody,
    responses((status = 200, description = "What came of it.", body = TestView), BadRequest, Unauthorized, TooLarge, Invalid, Unavailable, FeatureDisabled)
)]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    caller: Caller<Run>,
    Fields(body): Fields,
) -> Result<Json<TestView>, ApiError> {
    check_feature(&*api.switches().await?, Feature::Callbacks)?;
    let url = body
        .get("url")
        .and_then(Value::as_str)
        .filter(|url| is_web(url));
    let url =
        url.ok_or_else(|| ApiError::invalid("url", "must be an absolute http or https URL"))?;
    let refuse = |message: String| ApiError::new(Kind::Validation, message).about("url");
    (api.may_call)(url).map_err(refuse)?;
    let test = TestCallback {
        account: caller.0.account,
        url: url.to_owned(),
    };
    let result = (api.send_test)(test).await;
    Ok(Json(TestView {
        delivered: result
            .status
            .is_some_and(|status| (200..300).contains(&status)),
        status: result.status,
        took_ms: result.took_ms,
        note: result.note,
    }))
}

fn is_web(text: &str) -> bool {
    let is_short = text.len() <= URL_BYTES_MAX && !text.chars().any(char::is_control);
    let url = Url::parse(text).ok().filter(|_| is_short);
    url.is_some_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    })
}
