//! Videos of Alibaba's Model Studio, also called DashScope (alibabacloud.com/help/en/model-studio, video
//! generation and asynchronous tasks).
//!
//! `POST /services/aigc/video-generation/video-synthesis` with `{"model", "input", "parameters"}` and the
//! header `X-DashScope-Async: enable` answers `output.task_id`; `GET /tasks/{id}` answers
//! `output.task_status` and `output.video_url`. Newer models take files as a list `input.media` of types
//! and links; a route names them in `media` by their types. Errors are `{"code", "message"}`.

use domain::order::Order;
use domain::upstream::{Fault, FaultClass, Method, Reply, Request};
use serde_json::{Map, Value, json};

use crate::Context;
use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::queue::{Profile, State, Ticket, escaped, made};

/// The protocol.
pub(crate) const DASHSCOPE: Profile = Profile {
    submit,
    created,
    poll: |cx, ticket| Request::get(format!("{}/tasks/{}", cx.base_url, escaped(&ticket.id))),
    state,
    find: None,
    // Only what still waits can be cancelled; anything else is an error.
    cancel: Some(|cx, ticket| Request {
        method: Method::Post,
        ..Request::get(format!(
            "{}/tasks/{}/cancel",
            cx.base_url,
            escaped(&ticket.id)
        ))
    }),
    result: None,
    hook: None,
    pause_ms: 5_000,
    grace: 0,
};

fn submit(order: &Order, cx: &Context<'_>) -> Result<Request, Fault> {
    let mut body = cx.fields.clone();
    let media = media(body.remove("media"));
    let mut input = match body.remove("input") {
        Some(Value::Object(input)) => input,
        _ => Map::new(),
    };
    if !order.prompt.is_empty() {
        input.insert("prompt".to_owned(), json!(order.prompt));
    }
    if !media.is_empty() {
        input.insert("media".to_owned(), Value::Array(media));
    }
    body.insert("input".to_owned(), Value::Object(input));
    body.insert("model".to_owned(), json!(cx.model));
    let base = cx.base_url;
    let url = format!("{base}/services/aigc/video-generation/video-synthesis");
    Ok(Request::post(url, Value::Object(body)).header("x-dashscope-async", "enable"))
}

/// Files by their types, each a link or a list of links, as one list.
fn media(files: Option<Value>) -> Vec<Value> {
    let mut media = Vec::new();
    let Some(Value::Object(files)) = files else {
        return media;
    };
    for (kind, links) in files {
        let links = match links {
            Value::Array(links) => links,
            link => vec![link],
        };
        media.extend(
            links
                .into_iter()
                .map(|link| json!({ "type": kind, "url": link })),
        );
    }
    media
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    if reply.status != 200 || text_at(&body, &["/code"]).is_some() {
        return Err(refused(reply, &body));
    }
    let id = text_at(&body, &["/output/task_id"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(id))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    match reply.status {
        200 => {}
        404 => return Err(complaint(reply, &body, FaultClass::NotFound)),
        _ => return Err(complaint(reply, &body, FaultClass::Ambiguous)),
    }
    let task = body.get("output").unwrap_or(&Value::Null);
    match text_at(task, &["/task_status"]) {
        Some("SUCCEEDED") => {
            // Of several results some may have failed.
            let results = task.get("results").and_then(Value::as_array);
            let results = results.into_iter().flatten();
            let links = results.filter_map(|result| result.get("url")?.as_str());
            made(
                reply,
                text_at(task, &["/video_url"]).into_iter().chain(links),
            )
            .map(State::Done)
        }
        Some("FAILED" | "CANCELED") => Err(complaint(reply, task, failure_class(task))),
        Some("UNKNOWN") => Err(complaint(reply, task, FaultClass::NotFound)),
        Some(_) => Ok(State::Working(None)),
        None => Err(nonsense(reply)),
    }
}

/// Why work came to nothing.
fn failure_class(task: &Value) -> FaultClass {
    match code(task) {
        code if is_moderated(code) => FaultClass::Moderated,
        code if code.contains("InvalidParameter") => FaultClass::InvalidInput,
        _ => FaultClass::Failed,
    }
}

/// What is said against a creating call.
pub(crate) fn refused(reply: &Reply, body: &Value) -> Fault {
    let class = match code(body) {
        code if is_moderated(code) => FaultClass::Moderated,
        // Accounts without funds, and free quotas that are used up; some come with 429.
        "Arrearage" | "insufficient_quota" | "AllocationQuota.FreeTierOnly" => {
            FaultClass::Credential
        }
        code if code.starts_with("Throttling") => FaultClass::Throttled,
        "InvalidApiKey" | "AccessDenied" => FaultClass::Credential,
        "ModelNotFound" | "ModelUnavailable" => FaultClass::Unavailable,
        code if code.starts_with("InternalError") => FaultClass::Ambiguous,
        _ => refusal_class(reply.status),
    };
    complaint(reply, body, class)
}

/// A file that could not be fetched for inspection is `InvalidParameter.DataInspection`, and no breach.
fn is_moderated(code: &str) -> bool {
    code.contains("DataInspectionFailed") || code.contains("IPInfringement")
}

fn code(body: &Value) -> &str {
    text_at(body, &["/code"]).unwrap_or_default()
}

fn complaint(reply: &Reply, body: &Value, class: FaultClass) -> Fault {
    fault(class, reply, text_at(body, &["/message"]))
}
