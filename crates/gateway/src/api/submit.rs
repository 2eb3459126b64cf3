//! Submitting work, and asking what it would cost.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use domain::credits::Credits;
use domain::ids::TaskId;
use domain::limits::Allowance;
use domain::order::Scenario;
use domain::price::Line;
use domain::task::Task;
use serde::Serialize;
use serde_json::{Map, Number, Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::admission::offer;
use super::allowance;
use super::body::RunFields;
use super::caller::{self, Caller, Run};
use super::counters::Submitted;
use super::error::{ApiError, Kind};
use super::inline;
use super::prefer::{IDEMPOTENCY_KEY, Wishes};
use super::refusals::{
    BadRequest, BodyTooLarge, FeatureDisabled, InsufficientCredits, Invalid, Maintenance, NotFound,
    RateLimited, Unauthorized, Unavailable,
};
use super::shape::SubmitBody;
use super::switchboard::check_open;
use super::{Api, Id, json_text, wait};
use crate::store::StoreError;
use crate::store::keyring::Presumed;
use crate::store::keys::Principal;
use crate::store::submit::{Admission, Idempotency};
use crate::view::TaskView;

static REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Submit a task
///
/// The price, or its upper bound, is held until the task ends; a task that fails costs nothing. The
/// reply comes when the task is safely stored, not when it is done.
#[utoipa::path(
    post, path = "/api/v1/run/{model_id}", operation_id = "submitTask", tag = "Run", security(("key" = ["run"])),
    params(
        ("model_id" = String, Path, description = "The model.", example = "video_generate.kling_2_6"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, kept for 7 days. The same key with the same request gives the first reply again, with `Idempotent-Replayed: true`."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`, N up to 60: if the task ends within N seconds, the reply holds the whole task as well."),
        ("RouterBase-Sandbox" = Option<String>, Header, description = "Runs in the sandbox and says what it plays: `delay=2s, outcome=success|fail|moderated|timeout|rate_limited|garbage, progress=5`."),
    ),
    request_body(content = SubmitBody, example = json!({
        "prompt": "a fox in the snow", "video_params": {"aspect_ratio": "16:9", "duration": 5},
        "callback_url": "https://example.com/hook",
    })),
    responses(
        (status = 200, description = "It is stored.", body = super::shape::Submitted,
            headers(
                ("RateLimit" = Option<String>, description = "What the key's limits leave: `\"rpm\";r=19;t=60`. Only for a key that has any."),
                ("RateLimit-Policy" = Option<String>, description = "The key's limits: `\"rpm\";q=20;w=60`."),
            )),
        BadRequest, Unauthorized, InsufficientCredits, NotFound, BodyTooLarge, Invalid, RateLimited,
        Maintenance, Unavailable, FeatureDisabled,
    )
)]
pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    mut caller: caller::Presumed<Run>,
    Id(model): Id,
    wishes: Wishes,
    mut body: RunFields,
) -> Result<Response, ApiError> {
    // What is answered, or stored, before the task is recorded has nothing to check the key.
    if wishes.idempotency_key.is_some() || inline::has_any(&body) {
        caller = caller.confirmed(&api).await?;
    }
    let mut result = admit(&api, &caller.found, &model, &wishes, &mut body).await;
    if matches!(result, Err(NotAdmitted::ByPresumption)) {
        caller = caller.confirmed(&api).await?;
        result = admit(&api, &caller.found, &model, &wishes, &mut body).await;
    }
    drop(body);
    let result = result.map_err(ApiError::from);
    api.counters.submitted(match &result {
        Ok(admitted) if admitted.is_replay => Submitted::Replayed,
        Ok(_) => Submitted::Accepted,
        Err(_) => Submitted::Refused,
    });
    let admitted = result?;
    let reply = if wishes.wait_s == 0 {
        admitted.reply
    } else {
        waited(&api, &caller.found.principal, admitted.reply, wishes.wait_s).await?
    };
    let mut response = json_text(reply);
    let headers = response.headers_mut();
    allowance::tell(headers, &admitted.left);
    if admitted.is_replay {
        headers.insert(REPLAYED.clone(), HeaderValue::from_static("true"));
    }
    Ok(response)
}

struct Admitted {
    reply: String,
    is_replay: bool,
    /// What is left of the key's limits.
    left: Vec<Allowance>,
}

/// Why a request is not admitted.
enum NotAdmitted {
    Refused(ApiError),
    /// The key is another than was presumed, or that alone would be the reason.
    ByPresumption,
}

impl From<ApiError> for NotAdmitted {
    fn from(refusal: ApiError) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for NotAdmitted {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<NotAdmitted> for ApiError {
    fn from(refusal: NotAdmitted) -> Self {
        match refusal {
            NotAdmitted::Refused(refusal) => refusal,
            NotAdmitted::ByPresumption => Self::internal("a key keeps changing"),
        }
    }
}

async fn admit(
    api: &Api,
    caller: &Presumed,
    model: &str,
    wishes: &Wishes,
    body: &mut RunFields,
) -> Result<Admitted, NotAdmitted> {
    let principal = &*caller.principal;
    let wish = wishes.idempotency_key.as_ref().map(|key| Idempotency {
        key: key.clone(),
        fingerprint: fingerprint(model, &body.value, wishes.scenario),
        reply: String::new(),
    });
    // What was recorded once is told again, whatever has been switched off since.
    if let Some(wish) = &wish
        && let Some(first) = api.store.first_reply(&principal.account, wish).await?
    {
        return Ok(admitted(first, String::new(), Credits::ZERO)?);
    }
    let switches = api.switches().await?;
    check_open(&switches)?;
    let files = inline::take(body)?;
    let offered = offer(
        api,
        &switches,
        principal,
        model,
        &body.value,
        wishes.scenario,
    );
    if offered.is_err() && !caller.is_fresh {
        return Err(NotAdmitted::ByPresumption);
    }
    let mut offer = offered?;
    let order = &mut offer.submission.order;
    let kept = inline::keep(api, &principal.account, files, order).await?;
    let now_ms = api.clock.now_ms();
    let id = TaskId::mint(now_ms, &api.entropy.bytes());
    let reply = reply(&id, &offer.submission.ignored);
    let idempotency = wish.map(|wish| Idempotency {
        reply: reply.clone(),
        ..wish
    });
    let hold = offer.hold;
    let task = offer.task(principal, id, now_ms);
    let admission = record(api, caller, task, idempotency).await;
    // Where it is not known whether the task is recorded, its files stay.
    let is_refused = match &admission {
        Ok(admission) => !matches!(admission, Admission::Accepted(_)),
        Err(error) => matches!(error, StoreError::Overloaded | StoreError::Unavailable(_)),
    };
    if is_refused {
        kept.drop(api, &principal.account).await;
    }
    match admission? {
        Admission::KeyChanged => Err(NotAdmitted::ByPresumption),
        admission => Ok(admitted(admission, reply, hold)?),
    }
}

/// Records a task. With a key that was read for it, once more if that has got or lost a limit meanwhile.
async fn record(
    api: &Api,
    caller: &Presumed,
    mut task: Task,
    idempotency: Option<Idempotency>,
) -> Result<Admission, StoreError> {
    if !caller.is_fresh {
        return api.store.submit_presumed(&task, caller).await;
    }
    let admission = api.store.submit(&task, idempotency.clone()).await?;
    if admission != Admission::KeyChanged {
        return Ok(admission);
    }
    task.is_metered = !task.is_metered;
    api.store.submit(&task, idempotency).await
}

fn admitted(admission: Admission, reply: String, hold: Credits) -> Result<Admitted, ApiError> {
    match admission {
        Admission::Accepted(left) => Ok(Admitted {
            reply,
            is_replay: false,
            left,
        }),
        Admission::Replayed(reply) => Ok(Admitted {
            reply,
            is_replay: true,
            left: Vec::new(),
        }),
        Admission::Reused => Err(ApiError::invalid(
            IDEMPOTENCY_KEY,
            "was used for another request before",
        )),
        Admission::Insufficient => {
            let message = format!("This costs up to {hold} credits, more than can be spent now.");
            Err(ApiError::new(Kind::InsufficientCredits, message))
        }
        Admission::Exceeded(exceeded) => Err(allowance::refusal(exceeded, hold)),
        Admission::KeyDead => Err(ApiError::unauthorized()),
        Admission::KeyChanged => Err(ApiError::internal("a key keeps changing")),
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
    let scenario = json!(scenario).to_string();
    hash.update(model.as_bytes());
    hash.update([0]);
    // Large bodies are not written out for it.
    let mut written = Hashed(hash);
    let _ = serde_json::to_writer(&mut written, body);
    let Hashed(mut hash) = written;
    hash.update([0]);
    hash.update(scenario.as_bytes());
    hash.update([0]);
    hex::encode(hash.finalize())
}

/// Hashes what is written; it never fails.
struct Hashed(Sha256);

impl std::io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
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
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Estimate {
    /// What is expected.
    #[schema(value_type = f64, example = 0.55)]
    credits: Credits,
    /// What is held; it never costs more.
    #[schema(value_type = f64, example = 0.55)]
    max_credits: Credits,
    /// `USD`.
    currency: &'static str,
    /// How `max_credits` comes about.
    breakdown: Vec<EstimateLine>,
    /// Known parameters the model has no use for; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<String>,
}

/// One line of an estimate.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EstimateLine {
    /// What is paid for.
    label: String,
    /// How many.
    #[schema(value_type = f64)]
    quantity: Number,
    /// For one.
    #[schema(value_type = f64)]
    unit_price: Credits,
    /// For the line.
    #[schema(value_type = f64)]
    amount: Credits,
}

/// Estimate a task
///
/// Takes the body of a submit, checks it in the same way and runs nothing.
#[utoipa::path(
    post, path = "/api/v1/run/{model_id}/estimate", operation_id = "estimateTask", tag = "Run", security(("key" = ["run"])),
    params(("model_id" = String, Path, description = "The model.", example = "video_generate.kling_2_6")),
    request_body = SubmitBody,
    responses(
        (status = 200, description = "What it would cost.", body = Estimate),
        BadRequest, Unauthorized, NotFound, BodyTooLarge, Invalid, Unavailable, FeatureDisabled,
    )
)]
pub(super) async fn estimate(
    State(api): State<Arc<Api>>,
    caller: Caller<Run>,
    Id(model): Id,
    wishes: Wishes,
    mut body: RunFields,
) -> Result<Json<Estimate>, ApiError> {
    let switches = api.switches().await?;
    inline::take(&mut body)?;
    let body = &body.value;
    let offer = offer(&api, &switches, &caller.0, &model, body, wishes.scenario)?;
    let order = &offer.submission.order;
    let lines = offer.listed.breakdown(order);
    let line = |line: Line| EstimateLine {
        label: line.label,
        quantity: line.quantity,
        unit_price: line.unit_price,
        amount: line.amount,
    };
    Ok(Json(Estimate {
        credits: offer.hold,
        max_credits: offer.hold,
        currency: "USD",
        breakdown: lines.into_iter().map(line).collect(),
        ignored: offer.submission.ignored,
    }))
}
