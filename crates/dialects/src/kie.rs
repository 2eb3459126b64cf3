//! KIE's market: one protocol for most of its models (docs.kie.ai, `/market/common/get-task-detail`).
//!
//! `POST /api/v1/jobs/createTask` with `{"model", "input"}` answers `{"code", "msg", "data": {"taskId"}}`;
//! `GET /api/v1/jobs/recordInfo?taskId=` answers `state` and, as text, `resultJson`. Errors come as HTTP
//! 200 with another `code` inside, so the code is read before anything else.

use domain::order::Order;
use domain::upstream::{Fault, FaultClass, Reply, Request};
use domain::webhook::Scheme;
use serde_json::{Value, json};

use crate::Context;
use crate::fault::{fault, is_moderation, nonsense, text_at};
use crate::hook::Hook;
use crate::queue::{Profile, State, Ticket, escaped, made, with_prompt};

/// The protocol.
pub(crate) const MARKET: Profile = Profile {
    submit: |order: &Order, cx: &Context<'_>| {
        let body = json!({ "model": cx.model, "input": with_prompt(order, cx) });
        Ok(Request::post(
            format!("{}/api/v1/jobs/createTask", cx.base_url),
            body,
        ))
    },
    created,
    poll: |cx, ticket| {
        Request::get(format!(
            "{}/api/v1/jobs/recordInfo?taskId={}",
            cx.base_url,
            escaped(&ticket.id)
        ))
    },
    state,
    find: None,
    cancel: None,
    result: None,
    hook: Some(HOOK),
    pause_ms: 3_000,
    grace: GRACE,
};

/// Its deliveries name the work in one of three places.
pub(crate) const HOOK: Hook =
    Hook::field("callBackUrl", &["/data/taskId", "/data/task_id", "/taskId"]).signed(Scheme::Kie);

/// "recordInfo is null" is said for up to 90 s after a task was made.
pub(crate) const GRACE: u32 = 30;

/// The id of a task just made.
pub(crate) fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = opened(reply, Asked::ToCreate)?;
    let id = text_at(&body, &["/data/taskId"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(id))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let work = work(reply)?;
    match work.get("state").and_then(Value::as_str) {
        Some("success") => {
            let result = decoded(work.get("resultJson"));
            made(reply, texts(result.get("resultUrls"))).map(State::Done)
        }
        Some("fail") => Err(failed(reply, &work)),
        // An unknown word is never a success; the deadline ends what never ends.
        _ => Ok(State::Working(progress(&work))),
    }
}

/// What a reply says about work; nothing where the work is not known.
pub(crate) fn work(reply: &Reply) -> Result<Value, Fault> {
    let mut body = opened(reply, Asked::ToRead)?;
    let work = body.get_mut("data").map(Value::take);
    let work = work.filter(Value::is_object);
    work.ok_or_else(|| fault(FaultClass::NotFound, reply, None))
}

/// How far it is: `progress` counts to 100.
fn progress(data: &Value) -> Option<f64> {
    data.get("progress")
        .and_then(Value::as_f64)
        .map(|percent| percent / 100.0)
}

/// Why a task failed.
pub(crate) fn failed(reply: &Reply, data: &Value) -> Fault {
    let words = text_at(data, &["/failMsg", "/errorMessage"]);
    let code = data.get("failCode").or_else(|| data.get("errorCode"));
    let code = code.map(domain::mapping::word).unwrap_or_default();
    let class = match (code.as_str(), words.is_some_and(is_moderation)) {
        (_, true) => FaultClass::Moderated,
        ("400" | "422" | "451", _) => FaultClass::InvalidInput,
        _ => FaultClass::Failed,
    };
    fault(class, reply, words)
}

/// What was asked when a reply came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To make something.
    ToCreate,
    /// How something stands.
    ToRead,
}

/// The body of a reply whose code says that all is well.
pub(crate) fn opened(reply: &Reply, asked: Asked) -> Result<Value, Fault> {
    let body = reply.json();
    let code = body.get("code").map(domain::mapping::word);
    let code: u16 = match code.and_then(|code| code.parse().ok()) {
        Some(code) => code,
        None if reply.status == 200 => return Err(nonsense(reply)),
        None => reply.status,
    };
    if code == 200 && reply.status == 200 {
        return Ok(body);
    }
    let words = text_at(&body, &["/msg", "/message"]);
    let class = match (code, asked) {
        (401 | 402 | 433, _) => FaultClass::Credential,
        (429, _) => FaultClass::Throttled,
        (404 | 422, Asked::ToRead) => FaultClass::NotFound,
        (408 | 501, Asked::ToRead) => FaultClass::Failed,
        (400 | 422 | 451, Asked::ToCreate) if words.is_some_and(is_moderation) => {
            FaultClass::Moderated
        }
        (400 | 422 | 451, Asked::ToCreate) => FaultClass::InvalidInput,
        (404 | 455 | 505, Asked::ToCreate) => FaultClass::Unavailable,
        // A 500 often says that a field is wrong, but that it created nothing is not documented.
        _ => FaultClass::Ambiguous,
    };
    Err(fault(class, reply, words))
}

/// JSON, or JSON as text.
fn decoded(value: Option<&Value>) -> Value {
    match value {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(other) => other.clone(),
        None => Value::Null,
    }
}

/// The texts of a list, or a single text.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) if !text.is_empty() => vec![text],
        _ => Vec::new(),
    }
}

/// The creating request of one of the families older than the market.
pub(crate) fn generate(order: &Order, cx: &Context<'_>, family: &str) -> Request {
    let mut body = with_prompt(order, cx);
    body.insert("model".to_owned(), Value::from(cx.model));
    let url = format!("{}/api/v1/{family}/generate", cx.base_url);
    Request::post(url, Value::Object(body))
}

/// The read of work of such a family.
pub(crate) fn record(cx: &Context<'_>, family: &str, ticket: &Ticket) -> Request {
    let (base, id) = (cx.base_url, escaped(&ticket.id));
    Request::get(format!("{base}/api/v1/{family}/record-info?taskId={id}"))
}

/// How work of such a family stands by its `successFlag`: 0 at work, 1 done, 2 and 3 failed. The links
/// are in one of some fields of the response.
pub(crate) fn flagged(reply: &Reply, fields: &[&str]) -> Result<State, Fault> {
    let work = work(reply)?;
    let flag = work.get("successFlag").map(domain::mapping::word);
    match flag.as_deref() {
        Some("1") => {
            let response = work.get("response");
            let links = fields.iter().find_map(|field| response?.get(field));
            // A list of links may be text.
            let list = decoded(links);
            let links = if list.is_array() { Some(&list) } else { links };
            made(reply, texts(links)).map(State::Done)
        }
        Some("2" | "3") => Err(failed(reply, &work)),
        _ => Ok(State::Working(None)),
    }
}
