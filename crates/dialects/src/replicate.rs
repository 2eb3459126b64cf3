//! Replicate's predictions (replicate.com/docs, prediction lifecycle; replicate-python `prediction.py`).
//!
//! `POST /v1/models/{owner}/{name}/predictions` with `{"input"}`, or `/v1/predictions` with `{"version",
//! "input"}` for a model named `owner/name:version`; `GET /v1/predictions/{id}` answers `status` and
//! `output`, which is a URL, a list of URLs or an object of them, as the model pleases.

use domain::upstream::{Fault, FaultClass, Reply, Request};
use domain::webhook::Scheme;
use serde_json::{Value, json};

use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::hook::Hook;
use crate::queue::{Profile, State, Ticket, escaped, made, with_prompt};

/// The protocol.
pub(crate) const REPLICATE: Profile = Profile {
    submit: |order, cx| {
        let mut body = json!({ "input": with_prompt(order, cx) });
        if cx.webhook.is_some() {
            // Otherwise every line of the log is a delivery.
            body["webhook_events_filter"] = json!(["completed"]);
        }
        let path = match cx.model.split_once(':') {
            Some((_, version)) => {
                body["version"] = json!(version);
                "predictions".to_owned()
            }
            None => format!("models/{}/predictions", cx.model),
        };
        Ok(Request::post(format!("{}/v1/{path}", cx.base_url), body))
    },
    created,
    poll: |cx, ticket| {
        Request::get(format!(
            "{}/v1/predictions/{}",
            cx.base_url,
            escaped(&ticket.id)
        ))
    },
    state,
    find: None,
    cancel: None,
    result: None,
    hook: Some(Hook::field("webhook", &["/id"]).signed(Scheme::Standard)),
    pause_ms: 2_000,
    grace: 0,
};

/// Most levels of an output that are searched for files.
const DEPTH_MAX: u32 = 8;

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    if !(200..300).contains(&reply.status) {
        return Err(complaint(reply, &body, refusal_class(reply.status)));
    }
    let id = text_at(&body, &["/id"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(id))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    match reply.status {
        200 => {}
        404 => return Err(complaint(reply, &body, FaultClass::NotFound)),
        _ => return Err(complaint(reply, &body, FaultClass::Ambiguous)),
    }
    match text_at(&body, &["/status"]) {
        Some("succeeded") => {
            let mut urls = Vec::new();
            gather(
                body.get("output").unwrap_or(&Value::Null),
                DEPTH_MAX,
                &mut urls,
            );
            made(reply, urls).map(State::Done)
        }
        Some("failed" | "canceled" | "aborted") => {
            let words = text_at(&body, &["/error"]);
            let is_moderated = words.is_some_and(|words| {
                let words = words.to_lowercase();
                words.contains("nsfw") || words.contains("flagged as sensitive")
            });
            let class = match is_moderated {
                true => FaultClass::Moderated,
                false => FaultClass::Failed,
            };
            Err(fault(class, reply, words))
        }
        Some(_) => Ok(State::Working(None)),
        None => Err(nonsense(reply)),
    }
}

/// Every link in an output, in its order.
fn gather<'v>(output: &'v Value, depth: u32, urls: &mut Vec<&'v str>) {
    let Some(below) = depth.checked_sub(1) else {
        return;
    };
    match output {
        Value::String(text) if text.starts_with("https://") || text.starts_with("http://") => {
            urls.push(text);
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, below, urls)),
        Value::Object(fields) => fields.values().for_each(|field| gather(field, below, urls)),
        _ => {}
    }
}

/// Problems are `{"title", "detail", "status"}`.
fn complaint(reply: &Reply, body: &Value, class: FaultClass) -> Fault {
    fault(class, reply, text_at(body, &["/detail", "/title"]))
}
