//! Submitting work, and asking what it would cost.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use domain::credits::Credits;
use domain::ids::TaskId;
use domain::order::Scenario;
use domain::price::Line;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::admission::{check_open, offer};
use super::body::Fields;
use super::caller::{Caller, Run};
use super::counters::Submitted;
use super::error::{ApiError, Kind};
use super::prefer::{IDEMPOTENCY_KEY, Wishes};
use super::{Api, Id, json_text, wait};
use crate::store::keys::Principal;
use crate::store::submit::{Admission, Idempotency};
use crate::view::TaskView;

static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    caller: Caller<Run>,
    Id(model): Id,
    wishes: Wishes,
    Fields(body): Fields,
) -> Result<Response, ApiError> {
    let result = admit(&api, &caller.0, &model, &wishes, &body).await;
    api.counters.submitted(match &result {
        Ok(admitted) if admitted.is_replay => Submitted::Replayed,
        Ok(_) => Submitted::Accepted,
        Err(_) => Submitted::Refused,
    });
    let admitted = result?;
    let reply = if wishes.wait_s == 0 {
        admitted.reply
    } else {
        waited(&api, &caller.0, admitted.reply, wishes.wait_s).await?
    };
    let mut response = json_text(reply);
    if admitted.is_replay {
        let headers = response.headers_mut();
        headers.insert(REPLAYED.clone(), HeaderValue::from_static("true"));
    }
    Ok(response)
}

struct Admitted {
    reply: String,
    is_replay: bool,
}

async fn admit(
    api: &Api,
    caller: &Principal,
    model: &str,
    wishes: &Wishes,
    body: &Value,
) -> Result<Admitted, ApiError> {
    check_open(api)?;
    let offer = offer(api, caller, model, body, wishes.scenario)?;
    let now_ms = api.clock.now_ms();
    let id = TaskId::mint(now_ms, &api.entropy.bytes());
    let reply = reply(&id, &offer.submission.ignored);
    let idempotency = wishes.idempotency_key.as_ref().map(|key| Idempotency {
        key: key.clone(),
        fingerprint: fingerprint(model, body, wishes.scenario),
        reply: reply.clone(),
    });
    let hold = offer.hold;
    let task = offer.task(caller, id, now_ms);
    match api.store.submit(&task, idempotency).await? {
        Admission::Accepted => Ok(Admitted {
            reply,
            is_replay: false,
        }),
        Admission::Replayed(reply) => Ok(Admitted {
            reply,
            is_replay: true,
        }),
        Admission::Reused => Err(ApiError::invalid(
            IDEMPOTENCY_KEY,
            "was used for another request before",
        )),
        Admission::Insufficient => {
            let message = format!("This costs up to {hold} credits, more than can be spent now.");
            Err(ApiError::new(Kind::InsufficientCredits, message))
        }
        Admission::KeyDead => Err(ApiError::unauthorized()),
    }
}

fn reply(id: &TaskId, ignored: &[String]) -> String {
    let ignored = match ignored {
        [] => String::new(),
        paths => format!(",\"ignored\":{}", json!(paths)),
    };
    format!(
        "{{\"code\":200,\"message\":\"Task submitted successfully\",\
         \"task_id\":\"{id}\",\"status\":\"waiting\"{ignored}}}"
    )
}

/// A hash of what was asked. Objects are kept with their names in order, so the order in which a
/// client wrote them does not matter.
fn fingerprint(model: &str, body: &Value, scenario: Option<Scenario>) -> String {
    let mut hash = Sha256::new();
    for part in [
        model.to_owned(),
        body.to_string(),
        json!(scenario).to_string(),
    ] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

/// The reply together with the task, if it ends in time.
async fn waited(
    api: &Api,
    caller: &Principal,
    reply: String,
    seconds: u64,
) -> Result<String, ApiError> {
    let broken = |error: serde_json::Error| ApiError::internal(error.to_string());
    let mut merged: Map<String, Value> = serde_json::from_str(&reply).map_err(broken)?;
    let id = merged.get("task_id").and_then(Value::as_str);
    let id = id.and_then(TaskId::parse);
    let id = id.ok_or_else(|| ApiError::internal("a stored reply without a task"))?;
    let longest = Duration::from_secs(seconds);
    let waited = wait::until(api, &caller.account, &id, longest, wait::has_ended).await;
    // The task is recorded: a store that fails now must not make the client submit it again.
    let Some(read) = waited.ok().filter(wait::has_ended) else {
        return Ok(reply);
    };
    let view = TaskView::new(&read.task, read.notice.as_ref(), &api.settings.public_url);
    if let Value::Object(task) = serde_json::to_value(view).map_err(broken)? {
        merged.extend(task);
    }
    Ok(Value::Object(merged).to_string())
}

/// What a run would cost.
#[derive(Debug, Serialize)]
pub(super) struct Estimate {
    credits: Credits,
    max_credits: Credits,
    currency: &'static str,
    breakdown: Vec<Line>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<String>,
}

pub(super) async fn estimate(
    State(api): State<Arc<Api>>,
    caller: Caller<Run>,
    Id(model): Id,
    wishes: Wishes,
    Fields(body): Fields,
) -> Result<axum::Json<Estimate>, ApiError> {
    let offer = offer(&api, &caller.0, &model, &body, wishes.scenario)?;
    let order = &offer.submission.order;
    let breakdown = match caller.0.grant.sandbox {
        true => offer.price.breakdown(order),
        false => offer.model.price.breakdown(order),
    };
    Ok(axum::Json(Estimate {
        credits: offer.hold,
        max_credits: offer.hold,
        currency: "USD",
        breakdown,
        ignored: offer.submission.ignored,
    }))
}
