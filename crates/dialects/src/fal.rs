//! fal's queue (docs.fal.ai, queue; fal-ai/fal-js `libs/client/src/queue.ts`).
//!
//! `POST {base}/{model}` with the model's input answers an id and the URLs of state and result, which are
//! kept. `COMPLETED` says only that the result can be
//! asked for; whether the work failed is in the status of that reply.

use std::borrow::Cow;

use domain::upstream::{Auth, Fault, FaultClass, Output, Reply, Request};
use domain::webhook::Scheme;
use serde_json::Value;

use crate::Context;
use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::hook::{Hook, Place};
use crate::queue::{Profile, ResultStep, State, Ticket, escaped, made, with_prompt};

/// The protocol.
pub(crate) const FAL: Profile = Profile {
    submit: |order, cx| {
        let url = format!("{}/{}", cx.base_url, cx.model);
        Ok(Request::post(url, Value::Object(with_prompt(order, cx))).auth(KEY))
    },
    created,
    poll: |cx, ticket| {
        let url = match ticket.state_url.as_str() {
            "" => format!("{}/status", place(cx, ticket)),
            url => url.to_owned(),
        };
        Request::get(url).auth(KEY)
    },
    state,
    find: None,
    cancel: None,
    result: Some(ResultStep {
        request: |cx, ticket| {
            let url = match ticket.result_url.as_str() {
                "" => place(cx, ticket),
                url => url.to_owned(),
            };
            Request::get(url).auth(KEY)
        },
        read: result,
    }),
    hook: Some(Hook {
        place: Place::Query("fal_webhook"),
        ..Hook::field("", &["/request_id"]).signed(Scheme::Fal)
    }),
    pause_ms: 2_000,
    grace: 0,
};

/// `Authorization: Key <secret>`.
const KEY: Auth = Auth::Scheme(Cow::Borrowed("Key"));

/// Where work is whose reply was lost, as fal's own client has it: below the application, which is owner
/// and name without what else is in the model's path.
fn place(cx: &Context<'_>, ticket: &Ticket) -> String {
    let is_spaced = ["workflows/", "comfy/"]
        .iter()
        .any(|space| cx.model.starts_with(space));
    let parts = cx.model.split('/').take(if is_spaced { 3 } else { 2 });
    let application = parts.collect::<Vec<_>>().join("/");
    let id = escaped(&ticket.id);
    format!("{}/{application}/requests/{id}", cx.base_url)
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    if !(200..300).contains(&reply.status) {
        return Err(complaint(reply, &body, refusal_class(reply.status)));
    }
    let text = |place: &str| text_at(&body, &[place]).map(str::to_owned);
    let ticket = || {
        let mut ticket = Ticket::new(text("/request_id")?);
        ticket.state_url = text("/status_url")?;
        ticket.result_url = text("/response_url")?;
        Some(ticket)
    };
    ticket().ok_or_else(|| nonsense(reply))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    match (reply.status, text_at(&body, &["/status"])) {
        (200 | 202, Some("COMPLETED")) => Ok(State::Ready),
        (200 | 202, Some(_)) => Ok(State::Working(None)),
        (404, _) => Err(complaint(reply, &body, FaultClass::NotFound)),
        _ => Err(complaint(reply, &body, FaultClass::Ambiguous)),
    }
}

/// The model's output: `images[]`, `image` or `video`, each with a `url`.
fn result(reply: &Reply) -> Result<Output, Fault> {
    let body = reply.json();
    match reply.status {
        200 => {}
        400 | 422 => return Err(complaint(reply, &body, FaultClass::InvalidInput)),
        // A failure of the work has its type in a header or in the body; one of the way there has not.
        _ if reply.header("x-fal-error-type").is_some()
            || text_at(&body, &["/error_type"]).is_some() =>
        {
            return Err(complaint(reply, &body, FaultClass::Failed));
        }
        _ => return Err(complaint(reply, &body, FaultClass::Ambiguous)),
    }
    let images = body.get("images").and_then(Value::as_array);
    let single = [body.get("image"), body.get("video")];
    let files = images
        .into_iter()
        .flatten()
        .chain(single.into_iter().flatten());
    let urls: Vec<&str> = files.filter_map(|file| file.get("url")?.as_str()).collect();
    made(reply, urls)
}

/// `detail` is a text, or a list whose items have `msg` and `type`.
fn complaint(reply: &Reply, body: &Value, class: FaultClass) -> Fault {
    let words = text_at(body, &["/detail/0/msg", "/detail", "/error"]);
    let class = match text_at(body, &["/detail/0/type"]) {
        Some("content_policy_violation") => FaultClass::Moderated,
        _ => class,
    };
    fault(class, reply, words)
}
