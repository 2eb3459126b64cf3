//! Kling's own API (kling.ai, document-api; the form with the model's name in the body).
//!
//! A route's model is path and name: `videos/text2video/kling-v2-6`. `POST /v1/{path}` answers `{"code",
//! "message", "data": {"task_id"}}`; `GET /v1/{path}/{id}` answers `task_status` and `task_result`, and
//! takes our own reference, sent as `external_task_id`, in place of the id. Errors have a code of their
//! own, which says more than the status: 429 is also said to an account without funds.

use domain::mapping::word;
use domain::order::Order;
use domain::upstream::{Auth, Fault, FaultClass, Reply, Request};
use domain::webhook::Scheme;
use serde_json::{Map, Value, json};

use crate::Context;
use crate::fault::{fault, is_moderation, nonsense, refusal_class, text_at};
use crate::hook::Hook;
use crate::queue::{Profile, State, Ticket, escaped, made, with_prompt};

/// The protocol.
pub(crate) const KLING: Profile = Profile {
    submit,
    created,
    poll: |cx, ticket| {
        let (path, _) = path_and_name(cx);
        let url = format!("{}/v1/{path}/{}", cx.base_url, escaped(&ticket.id));
        Request::get(url).auth(Auth::Jwt)
    },
    state,
    find: Some(|cx| Ticket::new(cx.token)),
    cancel: None,
    result: None,
    hook: Some(
        Hook::field("callback_url", &["/task_id", "/data/task_id", "/id"]).signed(Scheme::Standard),
    ),
    pause_ms: 5_000,
    grace: 0,
};

/// The path of a route's model, and its name there.
fn path_and_name<'a>(cx: &Context<'a>) -> (&'a str, &'a str) {
    let parts = cx.model.rsplit_once('/');
    parts.unwrap_or(("videos/text2video", cx.model))
}

fn submit(order: &Order, cx: &Context<'_>) -> Result<Request, Fault> {
    let (path, name) = path_and_name(cx);
    let mut body = with_prompt(order, cx);
    for field in ["image", "image_tail"] {
        if let Some(image) = body.get_mut(field) {
            *image = bare(image);
        }
    }
    if let Some(Value::Array(images)) = body.get_mut("image_list") {
        let field = match path {
            "images/omni-image" => "image",
            _ => "image_url",
        };
        for image in images {
            *image = Value::Object(Map::from_iter([(field.to_owned(), bare(image))]));
        }
    }
    if body.get("multi_shot") == Some(&Value::Bool(true)) {
        let shot_type = match body.get_mut("multi_prompt") {
            Some(shots) => {
                number(shots);
                "customize"
            }
            // The model plans the shots, out of the one prompt.
            None => "intelligence",
        };
        body.insert("shot_type".to_owned(), json!(shot_type));
    }
    body.insert("model_name".to_owned(), Value::from(name));
    body.insert("external_task_id".to_owned(), json!(cx.token));
    let url = format!("{}/v1/{path}", cx.base_url);
    Ok(Request::post(url, Value::Object(body)).auth(Auth::Jwt))
}

/// Shots have their place as `index`, from 1, and durations are texts, as that of the film.
fn number(shots: &mut Value) {
    let shots = shots.as_array_mut().into_iter().flatten();
    for (index, shot) in (1..).zip(shots) {
        let duration = shot.get("duration").map(word);
        *shot = json!({ "index": index, "prompt": shot["prompt"], "duration": duration });
    }
}

/// A link as it is, bytes without the prefix of a `data:` URL.
fn bare(image: &Value) -> Value {
    let text = image.as_str().unwrap_or_default();
    match text.split_once(";base64,") {
        Some((prefix, base64)) if prefix.starts_with("data:") => Value::from(base64),
        _ => image.clone(),
    }
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    match (reply.status, code(&body)) {
        (200, Some(0)) => {}
        (status, code) => return Err(complaint(reply, &body, refused(status, code))),
    }
    let id = text_at(&body, &["/data/task_id"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(id))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    match (reply.status, code(&body)) {
        (200, Some(0)) => {}
        (_, code) => return Err(complaint(reply, &body, unread(&body, code))),
    }
    let task = body.get("data").unwrap_or(&Value::Null);
    match text_at(task, &["/task_status"]) {
        Some("succeed" | "succeeded") => {
            let files = ["/task_result/videos", "/task_result/images"];
            let files = files.iter().filter_map(|place| task.pointer(place));
            let files = files.filter_map(Value::as_array).flatten();
            made(reply, files.filter_map(|file| file.get("url")?.as_str())).map(State::Done)
        }
        Some("failed") => {
            let words = text_at(task, &["/task_status_msg"]);
            let is_moderated = |words: &str| words.contains("risk control") || is_moderation(words);
            let class = match words.is_some_and(is_moderated) {
                true => FaultClass::Moderated,
                false => FaultClass::Failed,
            };
            Err(fault(class, reply, words))
        }
        Some(_) => Ok(State::Working(None)),
        None => Err(nonsense(reply)),
    }
}

fn code(body: &Value) -> Option<i64> {
    body.get("code").and_then(Value::as_i64)
}

/// What an error means for work that was to be created.
fn refused(status: u16, code: Option<i64>) -> FaultClass {
    match code {
        // Keys, funds and packages, permissions, the list of allowed addresses.
        Some(1000..=1004 | 1100..=1103 | 1304) => FaultClass::Credential,
        Some(1200 | 1201) => FaultClass::InvalidInput,
        // The model is not there, or not for this path.
        Some(1202 | 1203) => FaultClass::Unavailable,
        Some(1300 | 1301) => FaultClass::Moderated,
        Some(1302 | 1303) => FaultClass::Throttled,
        // Whether a failing server has created something is not said; our reference tells.
        Some(5000..=5002) => FaultClass::Ambiguous,
        _ => refusal_class(status),
    }
}

/// What an error means where work was asked after.
fn unread(body: &Value, code: Option<i64>) -> FaultClass {
    let is_unknown = || {
        let words = text_at(body, &["/message"]).map(str::to_lowercase);
        words.is_some_and(|words| words.contains("not found"))
    };
    match code {
        Some(1203) => FaultClass::NotFound,
        // Also said of a reference in a form that it does not take, which proves nothing.
        Some(1201) if is_unknown() => FaultClass::NotFound,
        Some(1000..=1004 | 1103) => FaultClass::Credential,
        Some(1302 | 1303) => FaultClass::Throttled,
        _ => FaultClass::Ambiguous,
    }
}

fn complaint(reply: &Reply, body: &Value, class: FaultClass) -> Fault {
    fault(class, reply, text_at(body, &["/message"]))
}
