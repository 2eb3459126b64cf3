//! Black Forest Labs (docs.bfl.ai).
//!
//! `POST {base}/v1/{model}` answers `{"id", "polling_url", "cost"}`. The URL is on the host of the
//! region that does the work and is asked as it is; `status` there is `Pending`, `Ready` with
//! `result.sample`, `Request Moderated`, `Content Moderated`, `Error` or `Task not found`. A link lives
//! ten minutes. Problems are `{"detail"}`, a text or a list with `msg`.

use std::borrow::Cow;

use domain::upstream::{Auth, Fault, FaultClass, Reply, Request};
use serde_json::Value;

use crate::Context;
use crate::fault::{fault, nonsense, read_class, refusal_class, text_at};
use crate::hook::Hook;
use crate::queue::{Profile, State, Ticket, escaped, made, with_prompt};

/// The protocol.
pub(crate) const BFL: Profile = Profile {
    submit: |order, cx| {
        let url = format!("{}/v1/{}", cx.base_url, cx.model);
        Ok(Request::post(url, Value::Object(with_prompt(order, cx))).auth(KEY))
    },
    created,
    poll,
    state,
    find: None,
    cancel: None,
    result: None,
    hook: Some(Hook::field("webhook_url", &["/id", "/task_id"])),
    pause_ms: 1_500,
    // Work just accepted may not be known yet.
    grace: 10,
};

/// `x-key: <secret>`.
const KEY: Auth = Auth::Header(Cow::Borrowed("x-key"));

fn poll(cx: &Context<'_>, ticket: &Ticket) -> Request {
    let url = match ticket.state_url.as_str() {
        "" => format!("{}/v1/get_result?id={}", cx.base_url, escaped(&ticket.id)),
        url => url.to_owned(),
    };
    Request::get(url).auth(KEY)
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    if !(200..300).contains(&reply.status) {
        return Err(fault(refusal_class(reply.status), reply, words(&body)));
    }
    let id = text_at(&body, &["/id"]).ok_or_else(|| nonsense(reply))?;
    let mut ticket = Ticket::new(id);
    text_at(&body, &["/polling_url"])
        .unwrap_or_default()
        .clone_into(&mut ticket.state_url);
    Ok(ticket)
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    // What is not known has its status in words, whatever that of the reply.
    let status = text_at(&body, &["/status"]);
    if reply.status != 200 && status != Some("Task not found") {
        return Err(fault(read_class(reply.status), reply, words(&body)));
    }
    match status {
        Some("Ready") => made(reply, text_at(&body, &["/result/sample"])).map(State::Done),
        Some("Request Moderated" | "Content Moderated") => {
            Err(fault(FaultClass::Moderated, reply, None))
        }
        Some("Error" | "Failed") => Err(fault(
            FaultClass::Failed,
            reply,
            text_at(&body, &["/details/error", "/details"]),
        )),
        Some("Task not found") => Err(fault(FaultClass::NotFound, reply, status)),
        Some(_) => Ok(State::Working(body.get("progress").and_then(Value::as_f64))),
        None => Err(nonsense(reply)),
    }
}

fn words(body: &Value) -> Option<&str> {
    text_at(body, &["/detail/0/msg", "/detail", "/error", "/message"])
}
