//! Films of OpenRouter (openrouter.ai/docs, video generation).
//!
//! `POST /videos` answers 202 with `id`; `GET /videos/{id}` answers `status`, and of finished work `urls`
//! (signed) or `unsigned_urls`, which lead to OpenRouter and want the secret. Of a route's fields,
//! `first_frame` and `last_frame` are pictures, `references` a list of them; the wire has them as parts
//! of a conversation.

use domain::order::Order;
use domain::upstream::{Fault, FaultClass, Output, Reply, Request, Source};
use domain::webhook::Scheme;
use serde_json::{Map, Value, json};

use crate::Context;
use crate::fault::{fault, nonsense, text_at};
use crate::hook::Hook;
use crate::openai_chat::complaint;
use crate::queue::{Profile, State, Ticket, escaped, made, with_prompt};

/// The protocol.
pub(crate) const VIDEO: Profile = Profile {
    submit: |order, cx| {
        let url = format!("{}/videos", cx.base_url);
        Ok(Request::post(url, Value::Object(body(order, cx))))
    },
    created,
    poll: |cx, ticket| Request::get(format!("{}/videos/{}", cx.base_url, escaped(&ticket.id))),
    state,
    find: None,
    cancel: None,
    result: None,
    hook: Some(Hook::field("callback_url", &["/data/id"]).signed(Scheme::OpenRouter)),
    pause_ms: 10_000,
    grace: 2,
};

fn body(order: &Order, cx: &Context<'_>) -> Map<String, Value> {
    let mut body = with_prompt(order, cx);
    body.insert("model".to_owned(), Value::from(cx.model));
    let mut frames = Vec::new();
    for name in ["first_frame", "last_frame"] {
        if let Some(url) = body.remove(name) {
            let mut frame = part(&url);
            frame.insert("frame_type".to_owned(), Value::from(name));
            frames.push(Value::Object(frame));
        }
    }
    if !frames.is_empty() {
        body.insert("frame_images".to_owned(), Value::Array(frames));
    }
    if let Some(Value::Array(urls)) = body.remove("references") {
        let references = urls.iter().map(part).map(Value::Object).collect();
        body.insert("input_references".to_owned(), references);
    }
    body
}

fn part(url: &Value) -> Map<String, Value> {
    let mut part = Map::new();
    part.insert("type".to_owned(), Value::from("image_url"));
    part.insert("image_url".to_owned(), json!({ "url": url }));
    part
}

fn created(reply: &Reply) -> Result<Ticket, Fault> {
    let body = reply.json();
    let is_error = body.get("error").is_some_and(|error| !error.is_null());
    if !(200..300).contains(&reply.status) || is_error {
        return Err(complaint(reply, &body));
    }
    let id = text_at(&body, &["/id"]).ok_or_else(|| nonsense(reply))?;
    Ok(Ticket::new(id))
}

fn state(reply: &Reply) -> Result<State, Fault> {
    let body = reply.json();
    let words = text_at(&body, &["/error/message", "/error"]);
    match reply.status {
        200 => {}
        404 => return Err(fault(FaultClass::NotFound, reply, words)),
        _ => return Err(fault(FaultClass::Ambiguous, reply, words)),
    }
    match text_at(&body, &["/status"]) {
        Some("completed") => films(reply, &body).map(State::Done),
        Some("failed" | "cancelled" | "expired") => {
            let is_moderated = words.is_some_and(|words| {
                let words = words.to_lowercase();
                ["moderat", "safety", "content policy"]
                    .iter()
                    .any(|sign| words.contains(sign))
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

fn films(reply: &Reply, body: &Value) -> Result<Output, Fault> {
    let list = |name: &str| {
        let items = body.get(name).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str)
    };
    let mut output = match list("urls").next() {
        Some(_) => return made(reply, list("urls")),
        None => made(reply, list("unsigned_urls"))?,
    };
    for source in &mut output.sources {
        if let Source::Link(link) = source
            && link.contains("/videos/")
            && link.contains("/content")
        {
            *source = Source::Fetch(Request::get(link.as_str()));
        }
    }
    Ok(output)
}
